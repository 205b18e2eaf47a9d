"""Chat templates: a model's own way of writing a conversation as one text.

They are Jinja2 templates and come from strangers' files. `ChatTemplate` has them rendered by a
process of its own, in a sandbox, with limits on time and memory; jinja2 is imported only there.
Nothing here knows of devices or of token ids.
"""

from cl_llama.chat.loading import load_chat_template
from cl_llama.chat.template import ChatTemplate, Message

__all__ = ["ChatTemplate", "Message", "load_chat_template"]
