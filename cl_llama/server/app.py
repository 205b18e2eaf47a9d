"""The ASGI application: endpoints, and how errors reach those who called them."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from cl_llama.errors import ClLlamaError
from cl_llama.llm import Llama
from cl_llama.server import health, openai, page
from cl_llama.server.errors import Failure, failure_of
from cl_llama.server.exchange import ExchangeMiddleware
from cl_llama.server.service import Service
from cl_llama.server.settings import ServerSettings


def create_app(llm: Llama | None, settings: ServerSettings) -> FastAPI:
    """An application over a model; None: `app.state.service.serve` brings it later.

    The app does not close the model.
    """
    # FastAPI's page of the endpoints loads its scripts from elsewhere; /openapi.json does not.
    app = FastAPI(title="cl-llama", docs_url=None, redoc_url=None)
    app.state.service = Service(settings, llm)
    app.include_router(health.router())
    app.include_router(openai.router())
    app.include_router(page.router())
    app.add_exception_handler(ClLlamaError, _tell)
    app.add_exception_handler(Exception, _tell)
    app.add_exception_handler(RequestValidationError, _tell)
    app.add_exception_handler(HTTPException, _tell)
    app.add_middleware(ExchangeMiddleware, timeout=settings.request_timeout)
    return app


async def _tell(request: Request, error: Exception) -> JSONResponse:
    match error:
        case RequestValidationError():
            failure = _misuse(error)
        case HTTPException():
            failure = Failure(error.status_code, _missing(request, error))
        case _:
            failure = failure_of(error)
    return failure_response(request.url.path, failure)


def failure_response(path: str, failure: Failure) -> JSONResponse:
    """An answer that tells what went wrong."""
    return JSONResponse(failure.body(path), failure.status, failure.headers)


def _misuse(error: RequestValidationError) -> Failure:
    """The first thing that is wrong with a request's body, in one line."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        where = f"at character {first['loc'][-1]}: {first.get('ctx', {}).get('error', '')}"
        return Failure(400, f"the request's body is no JSON ({where})")
    if isinstance(first["input"], bytes):
        return Failure(400, "the body: expected JSON, told by Content-Type: application/json")
    path = [str(part) for part in first["loc"] if part != "body"]
    name = ".".join(path) or None
    message = first["msg"][:1].lower() + first["msg"][1:]
    got = "" if first["type"] == "missing" else f", got {first['input']!r:.80}"
    return Failure(400, f"{name or 'the body'}: {message}{got}", param=name)


def _missing(request: Request, error: HTTPException) -> str:
    if error.status_code == 404:
        return f"there is nothing at {request.url.path}; /openapi.json lists what there is"
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        return f"{request.url.path} does not take {request.method}; it takes {allowed}"
    return str(error.detail)
