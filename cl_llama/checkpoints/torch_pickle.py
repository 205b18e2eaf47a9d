"""The pickle inside a PyTorch file, read as data: nothing in it is imported, called or executed.

A small interpreter of pickle's opcodes that builds numbers, strings, tuples, lists and
dictionaries, and knows the few globals with which `torch.save` describes tensors. Every other
global, and every opcode that would build another object, is an error. Opcodes: CPython's
`pickletools`; records: https://pytorch.org/docs/stable/notes/serialization.html
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from cl_llama.errors import CheckpointError

_STORAGE_DTYPES = {
    "HalfStorage": "f16",
    "BFloat16Storage": "bf16",
    "FloatStorage": "f32",
    "ByteStorage": "u8",
    "BoolStorage": "u8",
}
_OTHER_STORAGES = frozenset(f"{kind}Storage" for kind in ("Double", "Long", "Int", "Short", "Char"))
_MAX_ITEMS = 1_000_000
"""Of the stack and of the memo: far above any model's, far below what memory holds."""


@dataclass(frozen=True)
class StorageRecord:
    """A storage that a persistent id names: its file in the archive, value type and length."""

    key: str
    kind: str
    """PyTorch's class name, such as "HalfStorage"."""
    dtype: str | None
    """ "f16", "bf16", "f32", "u8", or None for a type that is not supported."""
    numel: int


@dataclass(frozen=True)
class TensorRecord:
    """A tensor as `torch._utils._rebuild_tensor_v2` is told to build it; units are values."""

    storage: StorageRecord
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class _Global:
    module: str
    name: str


class _DamagedError(Exception):
    """The pickle breaks off or breaks its own rules; the message says how."""


def read_torch_pickle(data: bytes, what: str) -> dict[str, TensorRecord]:
    """The named tensors of a `data.pkl`; `what` names it in errors.

    Raises CheckpointError where the pickle is damaged, needs any global that does not describe a
    tensor, or is no dictionary of tensors.
    """
    try:
        top = _Machine(data, what).run()
    except _DamagedError as error:
        raise CheckpointError(f"{what}: damaged pickle ({error})") from None
    if not isinstance(top, dict):
        raise CheckpointError(f"{what}: expected a dictionary of tensors, got {_kind(top)}")
    tensors: dict[str, TensorRecord] = {}
    for name, value in top.items():
        if not isinstance(name, str) or not isinstance(value, TensorRecord):
            raise CheckpointError(
                f"{what}: entry {name!r:.100} is {_kind(value)}, expected a tensor; is this a"
                " training checkpoint? save its model's state_dict alone"
            )
        tensors[name] = value
    return tensors


def _kind(value: object) -> str:
    if isinstance(value, _Global):
        return f"the global {value.module}.{value.name}"
    return type(value).__name__


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _sizes(value: object) -> tuple[int, ...]:
    if not isinstance(value, tuple) or not all(_is_size(item) for item in value):
        raise _DamagedError("a tensor's shape or stride is no tuple of sizes")
    if len(value) > 32:
        raise _DamagedError(f"a tensor has {len(value)} dimensions")
    return value


class _Machine:
    """One run over a pickle: a stack, the stacks below its marks, and a memo."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._what = what
        self._position = 0
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """The object on top of the stack at STOP."""
        while True:
            at = self._position
            opcode = self._take(1)[0]
            if opcode == 0x2E:  # STOP
                return self._pop()
            action = self._ACTIONS.get(opcode)
            if action is None:
                raise CheckpointError(
                    f"{self._what}: pickle opcode 0x{opcode:02x} at byte {at} is not used by"
                    " PyTorch's tensor files; refused"
                )
            action(self)
            if len(self._stack) > _MAX_ITEMS or len(self._memo) > _MAX_ITEMS:
                raise _DamagedError("too many items")

    # Reading the stream.

    def _take(self, count: int) -> bytes:
        end = self._position + count
        if end > len(self._data):
            raise _DamagedError(f"it ends at byte {len(self._data)}")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def _number(self, layout: str) -> int:
        (value,) = struct.unpack(layout, self._take(struct.calcsize(layout)))
        return int(value)

    def _line(self) -> str:
        end = self._data.find(b"\n", self._position)
        if end < 0:
            raise _DamagedError(f"it ends at byte {len(self._data)}")
        return self._text(self._take(end + 1 - self._position)[:-1])

    def _text(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise _DamagedError("a string is not UTF-8") from None

    # The stack.

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        if not self._stack:
            raise _DamagedError("its stack is empty")
        return self._stack.pop()

    def _top(self) -> Any:
        if not self._stack:
            raise _DamagedError("its stack is empty")
        return self._stack[-1]

    def _mark(self) -> None:
        if len(self._marks) > _MAX_ITEMS:
            raise _DamagedError("too many marks")
        self._marks.append(self._stack)
        self._stack = []

    def _pop_mark(self) -> list[Any]:
        """The items above the last mark."""
        if not self._marks:
            raise _DamagedError("a mark is missing")
        items = self._stack
        self._stack = self._marks.pop()
        return items

    # Containers.

    def _tuple(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self._push(tuple(reversed(items)))

    def _append(self, items: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, list):
            raise _DamagedError("an append to something else than a list")
        target.extend(items)

    def _set_items(self, items: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, dict) or len(items) % 2:
            raise _DamagedError("an assignment to something else than a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | int):  # hashing anything deeper could recurse
                raise _DamagedError("a dictionary key is neither a string nor a number")
            if key in target:
                raise CheckpointError(f"{self._what}: the name {key!r:.200} stands there twice")
            target[key] = value

    def _set_item(self) -> None:
        value = self._pop()
        self._set_items([self._pop(), value])

    # The memo.

    def _put(self, index: int) -> None:
        self._memo[index] = self._top()

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise _DamagedError(f"memo {index} is not set")
        self._push(self._memo[index])

    # What describes tensors.

    def _push_global(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise _DamagedError("a global's name is no string")
        known = (module, name) in _CALLS or (
            module == "torch" and (name in _STORAGE_DTYPES or name in _OTHER_STORAGES)
        )
        if not known:
            raise CheckpointError(
                f"{self._what}: it asks for {module[:100]}.{name[:100]}, which half, bfloat16"
                " and float tensors do not need; refused, nothing was executed"
            )
        self._push(_Global(module, name))

    def _stack_global(self) -> None:
        name = self._pop()
        self._push_global(self._pop(), name)

    def _reduce(self) -> None:
        arguments = self._pop()
        function = self._pop()
        if not isinstance(function, _Global) or not isinstance(arguments, tuple):
            raise _DamagedError("a call of something that is no function")
        call = _CALLS.get((function.module, function.name))
        if call is None:
            raise _DamagedError(f"a call of {function.module}.{function.name}")
        self._push(call(arguments))

    def _build(self) -> None:
        """Drop the attributes set on a dictionary: PyTorch's module versions."""
        self._pop()
        if not isinstance(self._top(), dict):
            raise _DamagedError("attributes set on something else than a dictionary")

    def _persistent(self) -> None:
        identity = self._pop()
        match identity:
            case ("storage", _Global("torch", kind), str(key), str(), int(numel)) if kind.endswith(
                "Storage"
            ) and _is_size(numel):
                self._push(StorageRecord(key, kind, _STORAGE_DTYPES.get(kind), numel))
            case _:
                raise _DamagedError("a persistent id that names no storage")

    _ACTIONS: ClassVar[Mapping[int, Callable[["_Machine"], None]]] = {
        0x80: lambda m: m._check_protocol(m._number("<B")),
        0x95: lambda m: m._skip_frame(),
        ord("N"): lambda m: m._push(None),
        0x88: lambda m: m._push(True),
        0x89: lambda m: m._push(False),
        ord("K"): lambda m: m._push(m._number("<B")),
        ord("M"): lambda m: m._push(m._number("<H")),
        ord("J"): lambda m: m._push(m._number("<i")),
        0x8A: lambda m: m._push(int.from_bytes(m._take(m._number("<B")), "little", signed=True)),
        ord("G"): lambda m: m._push(struct.unpack(">d", m._take(8))[0]),
        ord("X"): lambda m: m._push(m._text(m._take(m._number("<I")))),
        0x8C: lambda m: m._push(m._text(m._take(m._number("<B")))),
        ord("}"): lambda m: m._push({}),
        ord("]"): lambda m: m._push([]),
        ord(")"): lambda m: m._push(()),
        0x85: lambda m: m._tuple(1),
        0x86: lambda m: m._tuple(2),
        0x87: lambda m: m._tuple(3),
        ord("("): lambda m: m._mark(),
        ord("t"): lambda m: m._push_tuple(),
        ord("a"): lambda m: m._append([m._pop()]),
        ord("e"): lambda m: m._append(m._pop_mark()),
        ord("s"): lambda m: m._set_item(),
        ord("u"): lambda m: m._set_items(m._pop_mark()),
        ord("q"): lambda m: m._put(m._number("<B")),
        ord("r"): lambda m: m._put(m._number("<I")),
        0x94: lambda m: m._put(len(m._memo)),
        ord("h"): lambda m: m._get(m._number("<B")),
        ord("j"): lambda m: m._get(m._number("<I")),
        ord("c"): lambda m: m._push_global(m._line(), m._line()),
        0x93: lambda m: m._stack_global(),
        ord("R"): lambda m: m._reduce(),
        ord("b"): lambda m: m._build(),
        ord("Q"): lambda m: m._persistent(),
    }

    def _check_protocol(self, version: int) -> None:
        if not 2 <= version <= 5:
            raise _DamagedError(f"protocol {version}, expected 2 to 5")

    def _skip_frame(self) -> None:
        self._take(8)  # the frame's length: the opcodes in it are read as they come

    def _push_tuple(self) -> None:
        items = self._pop_mark()
        self._push(tuple(items))


def _ordered_dict(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    if arguments:
        raise _DamagedError("an OrderedDict with arguments")
    return {}


def _rebuild_tensor(arguments: tuple[Any, ...]) -> TensorRecord:
    if len(arguments) not in (6, 7) or not isinstance(arguments[0], StorageRecord):
        raise _DamagedError("a tensor without a storage")
    storage, offset = arguments[0], arguments[1]
    shape, stride = _sizes(arguments[2]), _sizes(arguments[3])
    if not _is_size(offset) or len(shape) != len(stride):
        raise _DamagedError("a tensor's offset, shape and stride do not fit each other")
    return TensorRecord(storage, offset, shape, stride)


def _rebuild_parameter(arguments: tuple[Any, ...]) -> TensorRecord:
    if len(arguments) != 3 or not isinstance(arguments[0], TensorRecord):
        raise _DamagedError("a parameter without a tensor")
    return arguments[0]


_CALLS: Mapping[tuple[str, str], Callable[[tuple[Any, ...]], Any]] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}
