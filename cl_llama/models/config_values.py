"""Typed reading of a model's JSON configuration, with errors that name the key and the value."""

import math
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cl_llama.errors import ConfigError

_SHORT = reprlib.Repr()  # of values of any size and depth
_SHORT.maxstring = _SHORT.maxother = 80
_SHORT.maxlevel = 2


class ConfigValues:
    """One JSON object of a configuration. Every reader raises ConfigError for a bad value.

    A key that is absent or null takes the default; without a default it is an error.
    """

    def __init__(self, path: Path, values: Mapping[str, Any], section: str = "") -> None:
        """`section` names the object inside the file ("rope_scaling"); "" is the whole file."""
        self.path = path
        self.values = values
        self.section = section

    def error(self, key: str, expected: str) -> ConfigError:
        """The error for a key whose value is not what was expected."""
        name = f"{self.section}.{key}" if self.section else key
        if key not in self.values:
            return ConfigError(f"{self.path}: the configuration lacks {name}; expected {expected}")
        return ConfigError(
            f"{self.path}: {name} is {_SHORT.repr(self.values[key])}; expected {expected}"
        )

    def has(self, key: str) -> bool:
        """Whether the key is there and not null."""
        return self.values.get(key) is not None

    def integer(self, key: str, default: int | None = None, *, most: int, least: int = 1) -> int:
        """A whole number in [least, most]."""
        value = self.values.get(key)
        if value is None:
            if default is not None:
                return default
        elif isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        raise self.error(key, f"a whole number from {least} to {most}")

    def number(
        self,
        key: str,
        default: float | None = None,
        *,
        above: float = 0.0,
        least: float | None = None,
        most: float = 1e15,
    ) -> float:
        """A finite number in (above, most], or in [least, most] if `least` is given."""
        value = self.values.get(key)
        if value is None:
            if default is not None:
                return default
        elif isinstance(value, int | float) and not isinstance(value, bool):
            enough = value > above if least is None else value >= least
            if enough and value <= most and math.isfinite(value):
                return float(value)
        bound = f"above {above:g}" if least is None else f"of at least {least:g}"
        raise self.error(key, f"a number {bound} and at most {most:g}")

    def numbers(self, key: str, *, most: float = 1e15) -> tuple[float, ...]:
        """A list of finite numbers in (0, most]."""
        values = self.values.get(key)
        if isinstance(values, list) and all(
            isinstance(v, int | float) and not isinstance(v, bool) and 0 < v <= most for v in values
        ):
            return tuple(float(v) for v in values)
        raise self.error(key, f"a list of numbers above 0 and at most {most:g}")

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        value = self.values.get(key)
        if value is None:
            return default
        if isinstance(value, bool):
            return value
        raise self.error(key, "true or false")

    def choice(self, key: str, supported: tuple[str, ...], default: str) -> str:
        """One of the supported strings."""
        value = self.values.get(key)
        if value is None:
            return default
        if isinstance(value, str) and value in supported:
            return value
        raise self.error(key, f"one of {', '.join(supported)}")

    def optional_section(self, key: str) -> "ConfigValues | None":
        """The JSON object under a key, or None where it is absent, null or empty."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self.error(key, "an object")
        return ConfigValues(self.path, value, key) if value else None

    def token_ids(self, key: str) -> tuple[int, ...]:
        """One id or a list of ids; () where absent, null or empty."""
        value = self.values.get(key)
        ids = value if isinstance(value, list) else [] if value is None else [value]
        if any(isinstance(i, bool) or not isinstance(i, int) or i < 0 for i in ids):
            raise self.error(key, "a token id (0 or more) or a list of them")
        return tuple(dict.fromkeys(ids))

    def forbid(self, keys: tuple[str, ...], why: str) -> None:
        """Refuse keys that would change the results; null, false, 0 and empty mean unused."""
        for key in keys:
            if self.values.get(key):
                raise self.error(key, f"it to be absent: {why}")
