"""Parameters of kernels whose best values differ from device to device.

An operation declares its parameters beside its kernels, with a default that is right everywhere:
results do not depend on them but for rounding. What is known of a device comes from the package's
tuning.json, which `cl-llama tune` wrote on some, and from the user's own file in the cache, which
wins. In both, values are looked up by device, then by vendor, then there is the default.
"""

import functools
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cl_llama.opencl.cache import cache_root, private_folder, write_file
from cl_llama.opencl.devices import DeviceInfo

logger = logging.getLogger(__name__)

_FOLDER = "tuning"
_FILE = "tuning.json"
_SHIPPED = Path(__file__).with_name(_FILE)

Values = dict[str, int]
"""A parameter's name -> its value."""


@dataclass(frozen=True)
class Parameter:
    """A number that a kernel or its dispatch takes."""

    name: str
    """operation.kernels.what; the kernels are those of a family or of a matrix unit."""
    meaning: str
    default: int
    values: tuple[int, ...]
    """Those that the kernels are tested with."""
    rows: tuple[int, ...]
    """Rows of activations at which it makes a difference: what a tuner measures."""
    contexts: tuple[int, ...] = (0,)
    """Cached positions before them, where that matters: attention's."""

    @property
    def operation(self) -> str:
        """The operation that it is of."""
        return self.name.split(".")[0]

    @property
    def kernels(self) -> str:
        """The family or the matrix unit that it is of."""
        return self.name.split(".")[1]


def device_key(device: DeviceInfo) -> str:
    """What a device is called in the files: two drivers of one processor differ."""
    return f"{device.platform}: {device.name}"


def known_values(device: DeviceInfo) -> Values:
    """What the files say of a device; the user's before the package's, the device's before the
    vendor's."""
    values: Values = {}
    for path in (_SHIPPED, _user_file()):
        table = _read(path)
        for section, key in (("vendors", device.vendor), ("devices", device_key(device))):
            values |= table[section].get(key, {})
    return values


def value(values: Mapping[str, int], parameter: Parameter) -> int:
    """A parameter's value among those known of a device, its default where they have none.

    A value that the kernels are not made for is not taken; a line says so, once.
    """
    known = values.get(parameter.name, parameter.default)
    if known not in parameter.values:
        _refuse(parameter, known)
        return parameter.default
    return known


def remember(device: DeviceInfo, values: Values) -> Path | None:
    """Write what was found for a device into the user's file; None where that is not possible."""
    folder = private_folder(_FOLDER)
    if folder is None:
        return None
    path = folder / _FILE
    table = _read(path)
    table["devices"][device_key(device)] = dict(sorted(values.items()))
    return path if write_file(path, (json.dumps(table, indent=2) + "\n").encode()) else None


def _user_file() -> Path:
    return cache_root() / _FOLDER / _FILE


def _read(path: Path) -> dict[str, dict[str, Values]]:
    """A file's tables; empty ones, and a line, where it is damaged."""
    empty: dict[str, dict[str, Values]] = {"devices": {}, "vendors": {}}
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return empty
    except (OSError, ValueError) as error:
        _complain(path, str(error))
        return empty
    problem = _problem(content)
    if problem is not None:
        _complain(path, problem)
        return empty
    return {**empty, **content}


def _problem(content: Any) -> str | None:
    if not isinstance(content, dict) or not set(content) <= {"devices", "vendors"}:
        return "expected an object of devices and vendors"
    for section in content.values():
        if not isinstance(section, dict):
            return "expected an object of devices and vendors"
        for key, values in section.items():
            if not isinstance(values, dict) or not all(type(v) is int for v in values.values()):
                return f"expected whole numbers by parameter for {key!r:.60}"
    return None


@functools.cache
def _complain(path: Path, problem: str) -> None:
    logger.warning("%s is not used: %s; cl-llama tune writes it anew", path, problem)


@functools.cache
def _refuse(parameter: Parameter, known: int) -> None:
    logger.warning(
        "tuning: %s is %s, expected one of %s; %s is taken",
        parameter.name,
        known,
        ", ".join(map(str, parameter.values)),
        parameter.default,
    )
