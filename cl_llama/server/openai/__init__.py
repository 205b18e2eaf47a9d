"""OpenAI's API: chat, completions, embeddings and models; and llama.cpp's /tokenize."""

from fastapi import APIRouter

from cl_llama.server.openai import chat, completions, embeddings, models, tokenization


def router() -> APIRouter:
    """All endpoints; the app brings the service, and tells of errors."""
    together = APIRouter()
    for part in (chat, completions, embeddings, models, tokenization):
        together.include_router(part.router)
    return together
