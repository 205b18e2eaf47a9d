"""`GET /` and `GET /page/VERSION/FILE`, with the headers that keep model output from running."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from cl_llama.server.page.files import PageFiles, page_files

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""Nothing from elsewhere, nothing inline, and no string that ever becomes HTML or a script."""

SAFE_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def router() -> APIRouter:
    """The page's routes; they need no API key, since they hold nothing secret."""
    routes = APIRouter(include_in_schema=False)
    page = page_files()

    @routes.api_route("/", methods=["GET", "HEAD"])
    async def index(request: Request) -> Response:
        """The page itself, asked for anew at each visit; 304 while it is the same."""
        headers = {**SAFE_HEADERS, "Cache-Control": "no-cache", "ETag": page.index_etag}
        if _has(request, page.index_etag):
            return Response(status_code=304, headers=headers)
        return Response(page.index, headers=headers, media_type=PageFiles.media_type("index.html"))

    @routes.api_route("/page/{version}/{name}", methods=["GET", "HEAD"])
    async def asset(version: str, name: str, request: Request) -> Response:
        """A file that the page loads; 404 for one of another release."""
        content = page.assets.get(name)
        if content is None or version != page.version:
            return Response(status_code=404, headers=SAFE_HEADERS)
        etag = f'"{version}"'
        headers = {
            **SAFE_HEADERS,
            "Cache-Control": "public, max-age=31536000, immutable",
            "ETag": etag,
        }
        if _has(request, etag):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=PageFiles.media_type(name))

    return routes


def _has(request: Request, etag: str) -> bool:
    """Whether the browser says that it has kept this very answer."""
    known = request.headers.get("if-none-match", "")
    return any(one.strip().removeprefix("W/") in (etag, "*") for one in known.split(","))
