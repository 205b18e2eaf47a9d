"""Every error that cl-llama raises on purpose.

    ClLlamaError
      DeviceError             no OpenCL platform, a device that cannot be selected, a failed command
        KernelBuildError      a kernel that the device's compiler refused
        DeviceMemoryError     a model, cache and scratch space that do not fit the device
        LogitsError           logits that are not numbers
      CheckpointError         a model file that is missing, damaged or does not match its config
        ConfigError           a configuration with an unknown or unsupported value
      TokenizerError          a tokenizer file that is missing, damaged or does not match the model
      ChatTemplateError       a chat template that is missing, damaged or takes too long
      RequestError            a prompt or a sampling parameter that cannot be served
        ContextFullError      a prompt that the context has no room for, or none for an answer
        GrammarError          a grammar or a JSON schema that is wrong, or llguidance is missing
        QueueFullError        one more request than may wait at the same time

A message is one line: the operation or file, what was expected, what was got, what to do.
"""


class ClLlamaError(Exception):
    """Base of all errors that cl-llama raises on purpose."""


class DeviceError(ClLlamaError):
    """No usable OpenCL device, an ambiguous choice of one, or a command that failed on it."""


class KernelBuildError(DeviceError):
    """The device's OpenCL compiler refused a kernel; the message carries its log."""


class DeviceMemoryError(DeviceError):
    """The weights, the cache and the scratch space do not fit the device."""


class LogitsError(DeviceError):
    """A model's logits are not numbers: its weights are damaged, or a kernel computes wrongly."""


class CheckpointError(ClLlamaError):
    """A model file that is missing, damaged, or holds other tensors than its config says."""


class ConfigError(CheckpointError):
    """A model configuration with a missing, unknown or unsupported value."""


class TokenizerError(ClLlamaError):
    """A tokenizer file that is missing, damaged, or does not match the model."""


class ChatTemplateError(ClLlamaError):
    """A chat template that is missing, damaged, or takes too long to render."""


class RequestError(ClLlamaError):
    """A prompt or a sampling parameter that the engine cannot serve."""


class ContextFullError(RequestError):
    """A prompt that the context has no room for, or none for an answer to it."""


class QueueFullError(RequestError):
    """As many requests wait for the engine as may; a later one will find room."""


class GrammarError(RequestError):
    """A grammar or a JSON schema that is wrong or too complex, or llguidance is missing."""
