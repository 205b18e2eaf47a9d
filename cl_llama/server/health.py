"""/health: whether the server takes requests."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from cl_llama.server.service import Service


def router() -> APIRouter:
    """The endpoint; it asks for no key and tells nothing of what is served."""
    routes = APIRouter()

    @routes.get("/health", summary="Whether the server takes requests", tags=["server"])
    async def health(request: Request) -> JSONResponse:
        """200 and "ok", or 503 and "loading", "rebuilding", "draining" or "failed"."""
        service: Service = request.app.state.service
        content: dict[str, Any] = {"status": service.state}
        if service.state == "ok":
            return JSONResponse(content)
        return JSONResponse(content, 503, {"Retry-After": "2"})

    return routes
