"""Llama-family language models on any OpenCL device.

    from cl_llama import Llama, SamplingParams
    with Llama.from_pretrained("path/to/model") as llm:
        print(llm.generate("Once upon a time", SamplingParams(max_new_tokens=64)).text)

Importing this opens no device and loads no OpenCL: names are fetched when they are first used.
"""

from typing import TYPE_CHECKING, Any

from cl_llama.errors import (
    ChatTemplateError,
    CheckpointError,
    ClLlamaError,
    ConfigError,
    ContextFullError,
    DeviceError,
    DeviceMemoryError,
    GrammarError,
    KernelBuildError,
    QueueFullError,
    RequestError,
    TokenizerError,
)

if TYPE_CHECKING:
    from cl_llama.conversation import Conversation
    from cl_llama.engine.params import SamplingParams
    from cl_llama.llm import Completion, Llama, StreamPiece
    from cl_llama.opencl.devices import DeviceInfo, list_devices

    __version__: str

__all__ = [
    "ChatTemplateError",
    "CheckpointError",
    "ClLlamaError",
    "Completion",
    "ConfigError",
    "ContextFullError",
    "Conversation",
    "DeviceError",
    "DeviceInfo",
    "DeviceMemoryError",
    "GrammarError",
    "KernelBuildError",
    "Llama",
    "QueueFullError",
    "RequestError",
    "SamplingParams",
    "StreamPiece",
    "TokenizerError",
    "__version__",
    "list_devices",
]

_HOMES = {
    "Completion": "cl_llama.llm",
    "Conversation": "cl_llama.conversation",
    "DeviceInfo": "cl_llama.opencl.devices",
    "Llama": "cl_llama.llm",
    "SamplingParams": "cl_llama.engine.params",
    "StreamPiece": "cl_llama.llm",
    "list_devices": "cl_llama.opencl.devices",
}


def __getattr__(name: str) -> Any:
    """Fetch a public name from its module (PEP 562) and keep it."""
    value: Any
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            value = version("cl-llama")
        except PackageNotFoundError:  # run from a checkout that is not installed
            value = "0+unknown"
    elif name in _HOMES:
        from importlib import import_module

        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """All public names, those not fetched yet included."""
    return sorted({*globals(), *__all__})
