"""Server-sent events as OpenAI's API writes them."""

import json
from typing import Any

from pydantic import BaseModel

DONE = b"data: [DONE]\n\n"
"""The end of a stream that went well."""


def event(data: BaseModel | dict[str, Any]) -> bytes:
    """One event; of a model's fields those that were given, even where they are null."""
    if isinstance(data, BaseModel):
        text = data.model_dump_json(exclude_unset=True)
    else:
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"data: {text}\n\n".encode()
