"""`cl-llama serve`: answers over HTTP until it is told to stop."""

import argparse
import functools
import importlib.util
import sys
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
from cl_llama.cli.server_log import server_log
from cl_llama.cli.server_options import (
    add_limit_options,
    add_naming_options,
    add_network_options,
    rllama_settings,
    server_settings,
)
from cl_llama.errors import ClLlamaError

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
        description="Answer over HTTP: OpenAI's API below /v1, RLLaMA's at /rllama/v1/inference, "
        "a web page to chat at /, their description at /docs, /health and /metrics. SIGTERM or "
        "Ctrl-C end it when the running answers are there, a second one at once.",
    )
    parser.set_defaults(func=functools.partial(run, parser))
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
    add_network_options(parser.add_argument_group("network"))
    add_limit_options(parser.add_argument_group("limits"))
    add_naming_options(parser.add_argument_group("names and logs"))
    add_device_options(parser.add_argument_group("device"))


def run(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    """Serve, and return the exit status; raises ClLlamaError."""
    problem = model_misuse(args)
    if problem is not None:
        parser.error(problem)
    return _serve(args, server_settings(args), cache_tokens=args.cache_tokens)


def run_inference_server(args: argparse.Namespace) -> int:
    """Serve as RLLaMA's options say, and return the exit status; raises ClLlamaError."""
    reuse = args.inference_server_prompt_cache_size != 0
    return _serve(args, rllama_settings(args), prefix_cache=reuse, quiet=args.quiet)


def _serve(
    args: argparse.Namespace,
    settings: "ServerSettings",
    *,
    cache_tokens: int = CACHE_TOKENS,
    prefix_cache: bool = True,
    quiet: bool = False,
) -> int:
    _check_extra()
    from cl_llama.opencl.devices import select_device
    from cl_llama.server.app import create_app
    from cl_llama.server.running import Runner, is_loopback, listen, url_of

    device = select_device(args.opencl_device)
    sockets = listen(settings.host, settings.port)
    if not settings.api_keys and not is_loopback(settings.host):
        _tell(
            f"WARNING: everybody who reaches {settings.host} can use this server, it asks for no "
            "key: give it an --api-key, or let it listen on 127.0.0.1"
        )

    def load(stopped: "Callable[[], bool]") -> "Llama":
        with _StoppableBar(stopped, hidden=quiet) as bar:
            return load_llama(
                args, device.index, bar, prefix_cache=prefix_cache, cache_tokens=cache_tokens
            )

    def announce(llm: "Llama") -> None:
        url = url_of(sockets[0])
        _tell(
            f"{settings.model_name} on {llm.device_label}: page {url}/, OpenAI's API {url}/v1, "
            f"RLLaMA's API {url}{settings.rllama.path}"
        )

    with server_log():
        return Runner(create_app(None, settings), load).run(sockets, announce)


def _check_extra() -> None:
    """Raise ClLlamaError if packages are missing that the server takes."""
    wanted = ("fastapi", "uvicorn", "pydantic", "prometheus_client")
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        raise ClLlamaError(
            f'serve: {missing[0]} is not installed; run: pip install "cl-llama[server]"'
        )


def _tell(message: str) -> None:
    print(f"cl-llama: {message}", file=sys.stderr, flush=True)


class _StoppableBar(LoadingBar):
    """Ends the loading when the server was told to stop meanwhile."""

    def __init__(self, stopped: "Callable[[], bool]", *, hidden: bool) -> None:
        super().__init__(sys.stderr, hidden=hidden)
        self._stopped = stopped

    def loaded(self, share: float) -> None:
        """Show the share; raises KeyboardInterrupt to stop."""
        if self._stopped():
            raise KeyboardInterrupt
        super().loaded(share)
