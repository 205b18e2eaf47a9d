"""`cl-llama chat`: its options, and reading messages until there are no more."""

import argparse
import functools
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cl_llama.cli.grammar_options import add_grammar_options, read_grammar
from cl_llama.cli.model_options import (
    add_device_options,
    add_model_options,
    add_template_option,
    load_llama,
    model_misuse,
    model_name,
)
from cl_llama.cli.option_types import valid_text
from cl_llama.cli.sampling_options import add_end_options, add_sampling_options, sampling_params
from cl_llama.engine.params import SamplingParams

if TYPE_CHECKING:
    from cl_llama.cli.chat.input import Reader
    from cl_llama.cli.chat.session import ChatSession
    from cl_llama.llm import Llama

_DESCRIPTION = """Talk with a model in its chat template. Enter sends a message; Alt+Enter, or a
backslash at a line's end, goes on in a new line. Ctrl-C stops an answer; Ctrl-D, or Ctrl-C twice,
leaves. /help lists the commands. Where standard input is no terminal, each of its lines is a
message or a command, and only the answers go to standard output."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the program's parser."""
    parser = subparsers.add_parser(
        "chat",
        usage="cl-llama chat [options]",
        help="talk with a model in the terminal",
        description=_DESCRIPTION,
    )
    add_model_options(parser.add_argument_group("model"))
    chat = parser.add_argument_group("chat")
    chat.add_argument(
        "--system-prompt", type=valid_text, metavar="TEXT", help="what the model is told first"
    )
    add_template_option(chat)
    chat.add_argument(
        "--load",
        metavar="FILE",
        help="go on with a conversation that /save wrote, with its sampling settings where no "
        "option says otherwise",
    )
    chat.add_argument(
        "--no-history",
        action="store_true",
        help="neither read nor keep what was typed; else the arrow keys bring it back in later "
        "chats, too",
    )
    add_sampling_options(parser.add_argument_group("sampling"))
    add_grammar_options(parser.add_argument_group("form of an answer"))
    add_end_options(parser.add_argument_group("end of an answer"))
    add_device_options(parser.add_argument_group("device"))
    parser.add_argument_group("output").add_argument(
        "-q", "--quiet", action="store_true", help="show answers and errors only"
    )
    parser.set_defaults(func=functools.partial(run, parser))


def run(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    """Talk until the input ends; raises ClLlamaError."""
    problem = model_misuse(args)
    if problem is None and args.system_prompt is not None and args.load is not None:
        problem = "argument --system-prompt: not with --load, which brings its own; see /system"
    if problem is not None:
        parser.error(problem)

    from cl_llama.cli.chat.commands import COMMANDS
    from cl_llama.cli.chat.input import open_reader
    from cl_llama.cli.chat.session_file import read_session
    from cl_llama.cli.loading_bar import LoadingBar
    from cl_llama.opencl.devices import select_device

    if args.load is not None:
        read_session(Path(args.load).expanduser())  # what is wrong with it shows before the wait
    form = read_grammar(args)
    reader = open_reader(COMMANDS, history=None if args.no_history else "chat-history")
    device = select_device(args.opencl_device)
    with LoadingBar(sys.stderr, hidden=args.quiet) as bar:
        llm = load_llama(args, device.index, bar)
    with llm:
        session = _begin(llm, parser, args, reader.interactive)
        session.grammar = None if form is None else form(llm.grammars)
        if reader.interactive and not args.quiet:
            session.note(
                f"{session.model} on {device.label}, context of {llm.max_seq_len} tokens\n"
                "Enter sends, Alt+Enter goes on in a new line, Ctrl-C stops an answer, "
                "Ctrl-D leaves; /help"
            )
        _talk(session, reader)
    return 0


def _begin(
    llm: "Llama", parser: argparse.ArgumentParser, args: argparse.Namespace, interactive: bool
) -> "ChatSession":
    """A session as the options say; ChatTemplateError before the first message is typed."""
    from cl_llama.cli.chat.commands import load
    from cl_llama.cli.chat.session import ChatSession

    llm.chat_prompt([{"role": "user", "content": "?"}])
    session = ChatSession(
        llm,
        model=model_name(args),
        params=_params(args),
        system=args.system_prompt,
        interactive=interactive,
        quiet=args.quiet,
    )
    if args.load is not None:
        load(session, args.load)
        session.snapshots.clear()
        defaults = _params(parser.parse_args([]))
        session.change_params(
            {
                name: value
                for name, value in vars(_params(args)).items()
                if value != getattr(defaults, name)
            }
        )
    return session


def _params(args: argparse.Namespace) -> SamplingParams:
    """What the options say; without `--seed`, every answer draws its own."""
    params = sampling_params(args)
    return params if args.seed is not None else replace(params, seed=None)


def _talk(session: "ChatSession", reader: "Reader") -> None:
    """Answer what is typed, until it ends."""
    from cl_llama.cli.chat.commands import run_command
    from cl_llama.cli.chat.screen import Impatience
    from cl_llama.errors import ClLlamaError

    while not session.over:
        try:
            text = reader.read(session.take_draft(), session.status)
        except EOFError:
            return
        try:
            if text.startswith("/") and not text.startswith("//"):
                run_command(session, text)
            elif text.strip():
                session.say(text.removeprefix("/") if text.startswith("//") else text)
        except ClLlamaError as error:
            if not reader.interactive:
                raise
            session.complain(error)
        except Impatience:
            raise
        except KeyboardInterrupt:
            if not reader.interactive:
                raise
            session.note("(stopped)")
