"""RLLaMA's API, as its README defines it: JSON Lines, one for each token, as they are made."""

from cl_llama.server.rllama.endpoint import router

__all__ = ["router"]
