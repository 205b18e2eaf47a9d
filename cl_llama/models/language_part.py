"""The language model in a Hugging Face checkpoint of a model that takes images, too (Gemma 3)."""

from collections.abc import Mapping
from typing import Any

from cl_llama.checkpoints import Checkpoint, HostTensor
from cl_llama.errors import ConfigError

_LANGUAGE = {"Gemma3ForConditionalGeneration": "Gemma3ForCausalLM"}
"""The class of the whole, and that of its language model."""
_SHARED_KEYS = ("bos_token_id", "eos_token_id", "tie_word_embeddings", "quantization_config")
_OTHER_PARTS = ("vision_tower.", "multi_modal_projector.")


def language_config(checkpoint: Checkpoint) -> Mapping[str, Any]:
    """The part of config.json that describes the language model; all of it for other models.

    Raises ConfigError where that part is no object.
    """
    whole = checkpoint.config
    name = _language_class(whole)
    if name is None:
        return whole
    part = whole.get("text_config")
    if not isinstance(part, Mapping):
        raise ConfigError(f"{checkpoint.path}: text_config is {part!r:.80}; expected an object")
    shared = {key: whole[key] for key in _SHARED_KEYS if key in whole}
    return {**shared, **part, "architectures": [name]}


def language_tensors(checkpoint: Checkpoint) -> Mapping[str, HostTensor]:
    """The language model's tensors, under the names that they have where it is alone."""
    if _language_class(checkpoint.config) is None:
        return checkpoint.tensors
    found = {}
    for name, tensor in checkpoint.tensors.items():
        # Older files say "language_model.model.", newer ones "model.language_model.".
        inner = name.removeprefix("language_model.")
        inner = inner.replace("model.language_model.", "model.", 1)
        if not inner.removeprefix("model.").startswith(_OTHER_PARTS):
            found[inner] = tensor
    return found


def _language_class(config: Mapping[str, Any]) -> str | None:
    names = config.get("architectures")
    if isinstance(names, list) and len(names) == 1 and isinstance(names[0], str):
        return _LANGUAGE.get(names[0])
    return None
