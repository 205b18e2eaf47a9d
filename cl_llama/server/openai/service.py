"""The app's service, as the endpoints ask for it."""

from typing import Annotated, TypeAlias, cast

from fastapi import Depends, Request

from cl_llama.server.service import Service


def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


ServiceDependency: TypeAlias = Annotated[Service, Depends(_service)]
"""A parameter of this type is the app's `Service`."""
