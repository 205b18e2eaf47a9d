"""/docs: the endpoints on one page, made of /openapi.json. It loads nothing and runs nothing."""

import json
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse


def router() -> APIRouter:
    """The page."""
    routes = APIRouter()

    @routes.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(_page(request.app.openapi()))

    return routes


def _page(document: dict[str, Any]) -> str:
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width"><title>cl-llama: endpoints</title>',
        "</head><body><h1>cl-llama: endpoints</h1>",
        '<p>The same for programs: <a href="/openapi.json">/openapi.json</a></p>',
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2>")
            parts.append(f"<p>{escape(operation.get('summary', ''))}</p>")
            if "description" in operation:
                parts.append(f"<p>{escape(operation['description'])}</p>")
            content = operation.get("requestBody", {}).get("content", {})
            for kind, body in content.items():
                parts.append(_body(document, kind, body.get("schema", {})))
    parts.append("</body></html>")
    return "\n".join(parts)


def _body(document: dict[str, Any], kind: str, schema: dict[str, Any]) -> str:
    """The fields of a request's body."""
    schemas = document.get("components", {}).get("schemas", {})
    schema = schemas.get(str(schema.get("$ref", "")).rpartition("/")[2], schema)
    lines = [f"<p>Body, {escape(kind)}:</p><dl>"]
    for name, field in schema.get("properties", {}).items():
        if name in schema.get("required", ()):
            said = "required"
        else:
            said = f"default {json.dumps(field.get('default'))}"
        about = escape(f"{said}. {field.get('description', '')}")
        lines.append(f"<dt><code>{escape(name)}</code></dt><dd>{about}</dd>")
    return "\n".join([*lines, "</dl>"])
