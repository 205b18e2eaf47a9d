"""`cl-llama serve`: answers over HTTP until it is told to stop."""

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_llama.cli.loading_bar import LoadingBar
from cl_llama.cli.model_options import (
    add_device_options,
    add_model_options,
    add_template_option,
    load_llama,
    model_misuse,
)
from cl_llama.cli.option_types import at_least_one
from cl_llama.errors import ClLlamaError, RequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cl_llama.llm import Llama
    from cl_llama.server.settings import ServerSettings


CACHE_TOKENS = 16384
"""Room for a conversation of each of some clients, and what they had before."""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "serve",
        help="answer over HTTP: OpenAI's API, RLLaMA's API, a web page",
        description="Answer over HTTP until a signal: OpenAI's API below /v1, RLLaMA's API, and "
        "a web page at /.",
    )
    parser.set_defaults(func=run)
    model = parser.add_argument_group("model")
    add_model_options(model)
    model.add_argument(
        "--cache-tokens",
        type=at_least_one,
        default=CACHE_TOKENS,
        metavar="N",
        help="tokens of all requests together that the cache holds, as far as they fit the device, "
        "and at least those of one; requests beyond wait; default: %(default)s",
    )
    add_template_option(parser.add_argument_group("chat"))
    add_device_options(parser.add_argument_group("device"))
    _add_network(parser.add_argument_group("network"))


def _add_network(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="HOST",
        help="the address to listen on; default: %(default)s, which only this machine reaches",
    )
    group.add_argument(
        "--port",
        type=port_number,
        default=8080,
        metavar="N",
        help="the port; 0: any free one; default: %(default)s",
    )


def port_number(text: str) -> int:
    """The type of an option that is a TCP port."""
    try:
        port = int(text)
    except ValueError:
        port = -1
    if not 0 <= port < 65536:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 65535, got {text!r}")
    return port


def run(args: argparse.Namespace) -> int:
    """Serve, and return the exit status; raises ClLlamaError."""
    problem = model_misuse(args)
    if problem is not None:
        raise RequestError(problem)
    from cl_llama.server.settings import ServerSettings

    settings = ServerSettings(host=args.host, port=args.port, model_name=model_name(args))
    return serve(args, settings)


def serve(args: argparse.Namespace, settings: "ServerSettings") -> int:
    """Serve the model that the options name."""
    check_extra()
    from cl_llama.opencl.devices import select_device
    from cl_llama.server.app import create_app
    from cl_llama.server.running import Runner, is_loopback, listen

    cache_tokens = getattr(args, "cache_tokens", CACHE_TOKENS)
    device = select_device(args.opencl_device)
    sockets = listen(settings.host, settings.port)
    if not settings.api_keys and not is_loopback(settings.host):
        tell(
            f"warning: everybody who reaches {settings.host} can use this server; set an "
            "--api-key, or listen on 127.0.0.1"
        )

    def load(stopped: "Callable[[], bool]") -> "Llama":
        with _StoppableBar(stopped) as bar:
            return load_llama(args, device.index, bar, cache_tokens=cache_tokens)

    def announce(llm: "Llama") -> None:
        host, port = sockets[0].getsockname()[:2]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        tell(
            f"{settings.model_name} on {llm.device_label}: page {url}/, OpenAI's API {url}/v1, "
            f"RLLaMA's API {url}{settings.rllama.path}"
        )

    return Runner(create_app(None, settings), load).run(sockets, announce)


def check_extra() -> None:
    """Raise ClLlamaError if packages are missing that the server takes."""
    wanted = ("fastapi", "uvicorn", "pydantic", "prometheus_client")
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        raise ClLlamaError(
            f'serve: {missing[0]} is not installed; run: pip install "cl-llama[server]"'
        )


def model_name(args: argparse.Namespace) -> str:
    """What clients call the model unless told otherwise: its file's or folder's name."""
    if args.model_path is None:
        return "cl-llama-stories"
    path = Path(args.model_path)
    if not path.exists():
        return str(args.model_path)
    return path.resolve().name.removesuffix(".gguf")


def tell(message: str) -> None:
    """A line on standard error."""
    print(f"cl-llama: {message}", file=sys.stderr, flush=True)


class _StoppableBar(LoadingBar):
    """Ends the loading when the server was told to stop meanwhile."""

    def __init__(self, stopped: "Callable[[], bool]") -> None:
        super().__init__(sys.stderr)
        self._stopped = stopped

    def loaded(self, share: float) -> None:
        """Show the share; raises KeyboardInterrupt to stop."""
        if self._stopped():
            raise KeyboardInterrupt
        super().loaded(share)
