"""`cl-llama chat`: a conversation with a model in the terminal, or through pipes."""

from cl_llama.cli.chat.command import add_parser

__all__ = ["add_parser"]
