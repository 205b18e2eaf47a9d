"""The ASGI application: endpoints, and how errors reach those who called them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from cl_llama import __version__
from cl_llama.errors import ClLlamaError
from cl_llama.llm import Llama
from cl_llama.server import endpoints_page, health, openai, page, rllama
from cl_llama.server.access import AccessMiddleware
from cl_llama.server.bodies import BodyMiddleware
from cl_llama.server.errors import Failure, failure_of, failure_response
from cl_llama.server.exchange import Exchange, ExchangeMiddleware
from cl_llama.server.metrics import Metrics
from cl_llama.server.request_log import RequestLog
from cl_llama.server.security_headers import SecurityHeadersMiddleware
from cl_llama.server.service import Service
from cl_llama.server.settings import ServerSettings

_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The request cannot be served as it is"},
    401: {"description": "A key is missing or wrong"},
    403: {"description": "The server does not go by the name in the Host header"},
    408: {"description": "The request's body did not come"},
    413: {"description": "The request's body is too large"},
    415: {"description": "The request's body is not said to be JSON"},
    429: {"description": "Too many requests wait; Retry-After says when to try again"},
    500: {"description": "The device failed"},
    503: {"description": "The model is being loaded, or the server is about to stop"},
    504: {"description": "The answer took too long"},
}


def create_app(llm: Llama | None, settings: ServerSettings) -> FastAPI:
    """An application over a model; None: `app.state.service.serve` brings it later.

    The app does not close the model.
    """
    # FastAPI's own page of the endpoints loads its scripts from elsewhere.
    app = FastAPI(
        title="cl-llama",
        docs_url=None,
        redoc_url=None,
        responses={**_REFUSALS},
        version=__version__,
    )
    service = Service(settings, llm)
    app.state.service = service
    metrics = Metrics(service)
    app.include_router(endpoints_page.router())
    app.include_router(health.router())
    app.include_router(metrics.router())
    app.include_router(openai.router())
    app.include_router(page.router())
    app.include_router(rllama.router(settings.rllama))
    for kind in (ClLlamaError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _tell)
    _protect(app, service, observers=(RequestLog(service), metrics.count))
    _describe(app)
    return app


def _protect(
    app: FastAPI, service: Service, observers: Sequence[Callable[[Exchange], None]]
) -> None:
    """Put around the app what every request passes, innermost first."""
    settings = service.settings
    app.add_middleware(
        BodyMiddleware,
        max_bytes=settings.max_body_bytes,
        idle_timeout=settings.idle_timeout,
        max_bodies=settings.max_concurrent + settings.max_queue,
    )
    app.add_middleware(
        AccessMiddleware,
        host=settings.host,
        allowed_hosts=settings.allowed_hosts,
        api_keys=settings.api_keys,
    )
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "POST"),
            allow_headers=("*",),
            expose_headers=("Retry-After",),
        )
    app.add_middleware(SecurityHeadersMiddleware)
    app.add_middleware(ExchangeMiddleware, timeout=settings.request_timeout, observers=observers)


def _describe(app: FastAPI) -> None:
    """Have the description of the endpoints tell of 400, which is what comes of a wrong field."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        document = describe()
        for methods in document["paths"].values():
            for operation in methods.values():
                operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            document.get("components", {}).get("schemas", {}).pop(name, None)
        return document

    app.openapi = described  # type: ignore[method-assign]  # FastAPI's way to change it


async def _tell(request: Request, error: Exception) -> JSONResponse:
    match error:
        case RequestValidationError():
            failure = _misuse(error)
        case HTTPException():
            failure = Failure(error.status_code, _missing(request, error))
        case _:
            failure = failure_of(error)
    return failure_response(request.url.path, failure)


def _misuse(error: RequestValidationError) -> Failure:
    """The first thing that is wrong with a request's body, in one line."""
    errors = error.errors()
    # Where a field takes several types, those that it is not of come first, and tell less.
    first = next((one for one in errors if not one["type"].endswith("_type")), errors[0])
    if first["type"] == "json_invalid":
        what = str(first.get("ctx", {}).get("error", "")).lower()
        where = f"at character {first['loc'][-1]}: {what}"
        return Failure(400, f"the request's body is no JSON ({where})")
    name = ".".join(_path(first, error.body)) or None
    message = first["msg"][:1].lower() + first["msg"][1:]
    got = "" if first["type"] == "missing" else f", got {first['input']!r:.80}"
    return Failure(400, f"{name or 'the body'}: {message}{got}", param=name)


def _path(error: Mapping[str, Any], body: Any) -> list[str]:
    """Where in the body a mistake is, without the names that the models' types add at the end."""
    place, *parts = error["loc"]
    if place != "body":
        return [str(part) for part in error["loc"]]
    path: list[str] = []
    for part in parts:
        try:
            body = body[part]
        except (KeyError, IndexError, TypeError):
            if error["type"] != "missing":
                break
        path.append(str(part))
    return path


def _missing(request: Request, error: HTTPException) -> str:
    if error.status_code == 404:
        return f"there is nothing at {request.url.path}; /openapi.json lists what there is"
    if error.status_code == 400:
        return "the request's body is no JSON that can be read"
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        return f"{request.url.path} does not take {request.method}; it takes {allowed}"
    return str(error.detail)
