"""The options of a server: those of `cl-llama serve`, and RLLaMA's on the bare command."""

import argparse
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cl_llama.cli.option_types import at_least_one, nonempty_text
from cl_llama.errors import RequestError

if TYPE_CHECKING:
    from cl_llama.server.settings import ServerSettings

KEY_VARIABLE = "CL_LLAMA_API_KEY"
FLAG = "--inference-server"


def add_network_options(group: "argparse._ArgumentGroup") -> None:
    """Add the options that say where the server listens and whom it serves."""
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
    group.add_argument(
        "--api-key",
        type=nonempty_text,
        action="append",
        metavar="KEY",
        help="ask clients for this key; may be given several times, any of them is good. Other "
        f"users of the machine can see it; {KEY_VARIABLE} and --api-key-file hide it",
    )
    group.add_argument(
        "--api-key-file", metavar="FILE", help="ask for one of the keys in a file, one on each line"
    )
    group.add_argument(
        "--cors-origin",
        type=nonempty_text,
        action="append",
        metavar="ORIGIN",
        help="let web pages of this origin (https://chat.example.org) call; may be given several "
        "times; *: of any",
    )
    group.add_argument(
        "--allowed-host",
        type=nonempty_text,
        action="append",
        metavar="NAME",
        help="a name under which clients reach the server, as through a reverse proxy; addresses, "
        "localhost and the machine's own name are known; may be given several times; *: any",
    )


def add_limit_options(group: "argparse._ArgumentGroup") -> None:
    """Add the options that say how much the server takes on."""
    group.add_argument(
        "--max-concurrent",
        type=at_least_one,
        default=32,
        metavar="N",
        help="requests that are answered at the same time; default: %(default)s",
    )
    group.add_argument(
        "--max-queue",
        type=_number(int, 0),
        default=64,
        metavar="N",
        help="requests that wait for their turn; further ones get 429; default: %(default)s",
    )
    group.add_argument(
        "--request-timeout",
        type=_number(float, 0.1),
        default=600.0,
        metavar="SECONDS",
        help="how long an answer may take, its wait included; default: 600",
    )
    group.add_argument(
        "--client-timeout",
        type=_number(float, 0.1),
        default=30.0,
        metavar="SECONDS",
        help="leave clients that neither send nor read for so long; default: 30",
    )
    group.add_argument(
        "--max-body-size",
        type=_size,
        default=4 * 2**20,
        metavar="BYTES",
        help="the largest request, also as 512K or 4M; default: 4M",
    )
    group.add_argument(
        "--grace-period",
        type=_number(float, 0.0),
        default=30.0,
        metavar="SECONDS",
        help="how long running answers may go on after SIGTERM or Ctrl-C; default: 30",
    )


def add_naming_options(group: "argparse._ArgumentGroup") -> None:
    """Add the options that say what clients and logs see."""
    group.add_argument(
        "--model-name",
        type=nonempty_text,
        metavar="NAME",
        help="what clients call the model; default: the file's or folder's name",
    )
    group.add_argument(
        "--log-prompts",
        action="store_true",
        help="write the prompts to the log, too, which else has no text of anybody",
    )


def server_settings(args: argparse.Namespace) -> "ServerSettings":
    """What `cl-llama serve` is told. Raises RequestError, and OSError for the file of keys."""
    from cl_llama.server.settings import ServerSettings

    return ServerSettings(
        host=args.host,
        port=args.port,
        api_keys=tuple(_keys(args)),
        cors_origins=tuple(args.cors_origin or ()),
        allowed_hosts=tuple(args.allowed_host or ()),
        max_concurrent=args.max_concurrent,
        max_queue=args.max_queue,
        request_timeout=args.request_timeout,
        idle_timeout=args.client_timeout,
        max_body_bytes=args.max_body_size,
        grace_seconds=args.grace_period,
        log_prompts=args.log_prompts,
        model_name=args.model_name or model_name(args),
    )


def add_rllama_options(group: "argparse._ArgumentGroup") -> None:
    """Add RLLaMA's options of its server."""
    group.add_argument(
        FLAG,
        action="store_true",
        help="answer over HTTP as RLLaMA does, and as cl-llama serve does; prompts and sampling "
        "are the requests'",
    )
    group.add_argument(
        f"{FLAG}-host", metavar="HOST", help="the address to listen on; default: 127.0.0.1"
    )
    group.add_argument(
        f"{FLAG}-port", type=port_number, metavar="N", help="the port; default: 8080"
    )
    group.add_argument(
        f"{FLAG}-max-concurrent-inferences",
        type=at_least_one,
        metavar="N",
        help="requests that are answered at the same time; others wait; default: 5",
    )
    group.add_argument(
        f"{FLAG}-api-path",
        type=_path,
        metavar="PATH",
        help="where RLLaMA's API is; default: /rllama/v1/inference",
    )
    group.add_argument(
        f"{FLAG}-prompt-cache-size",
        type=_number(int, 0),
        metavar="N",
        help="0: compute every prompt anew; other numbers, such as RLLaMA's 50: use what earlier "
        "prompts began with again, as many as the model's cache has room for",
    )
    group.add_argument(
        f"{FLAG}-exit-after-one-query",
        action="store_true",
        help="end, with status 0, when one request was answered",
    )


def rllama_misuse(args: argparse.Namespace) -> str | None:
    """The first of RLLaMA's options that is there without the one that they go with."""
    if not args.inference_server:
        for name, value in vars(args).items():
            if name.startswith("inference_server_") and value is not None and value is not False:
                return f"argument --{name.replace('_', '-')}: goes with {FLAG}"
    return None


def rllama_settings(args: argparse.Namespace) -> "ServerSettings":
    """What the bare command's server is told; keys come by the environment."""
    from cl_llama.server.settings import RllamaSettings, ServerSettings

    key = os.environ.get(KEY_VARIABLE, "").strip()
    settings = ServerSettings(
        host=args.inference_server_host or "127.0.0.1",
        port=8080 if args.inference_server_port is None else args.inference_server_port,
        api_keys=(key,) if key else (),
        max_concurrent=args.inference_server_max_concurrent_inferences or 5,
        model_name=model_name(args),
        rllama=RllamaSettings(exit_after_one_query=args.inference_server_exit_after_one_query),
    )
    path = args.inference_server_api_path
    return (
        settings if path is None else replace(settings, rllama=replace(settings.rllama, path=path))
    )


def model_name(args: argparse.Namespace) -> str:
    """What clients call the model unless told otherwise: its file's or folder's name."""
    if args.model_path is None:
        return "cl-llama-stories"
    path = Path(args.model_path)
    return path.resolve().name.removesuffix(".gguf") if path.exists() else str(args.model_path)


def port_number(text: str) -> int:
    """The type of an option that is a TCP port."""
    return int(_number(int, 0, 65535)(text))


def _keys(args: argparse.Namespace) -> list[str]:
    keys = list(args.api_key or ())
    from_environment = os.environ.get(KEY_VARIABLE, "").strip()
    if from_environment:
        keys.append(from_environment)
    if args.api_key_file is not None:
        lines = Path(args.api_key_file).read_text(encoding="utf-8").splitlines()
        in_file = [line.strip() for line in lines if line.strip()]
        if not in_file:
            raise RequestError(f"serve: {args.api_key_file} holds no key; write one on each line")
        keys += in_file
    return keys


def _number(
    convert: type[int] | type[float], low: float, high: float = float("inf")
) -> Callable[[str], float]:
    """The type of an option that is a number from `low` to `high`."""

    def parse(text: str) -> float:
        try:
            value = convert(text)
        except ValueError:
            value = convert(-1)
        if not low <= value <= high:
            allowed = (
                f"of at least {low:g}" if high == float("inf") else f"from {low:g} to {high:g}"
            )
            kind = "whole number" if convert is int else "number"
            raise argparse.ArgumentTypeError(f"must be a {kind} {allowed}, got {text!r}")
        return value

    return parse


def _size(text: str) -> int:
    found = re.fullmatch(r"([1-9]\d{0,8})([KMG]?)", text.upper().removesuffix("B"))
    if found is None:
        raise argparse.ArgumentTypeError(f"must be a number of bytes, or 512K, 4M, got {text!r}")
    return int(found[1]) * {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}[found[2]]


def _path(text: str) -> str:
    """A path of a URL that is not another endpoint's."""
    if not re.fullmatch(r"(/[\w.~-]+)+/?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"must be a path such as /api/complete, got {text!r}")
    if text.startswith("/v1/"):
        raise argparse.ArgumentTypeError(f"must not begin with /v1/, OpenAI's API, got {text!r}")
    return text.rstrip("/")
