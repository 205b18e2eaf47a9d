"""The command line's grammar: options that generate, or a command and its own options."""

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from cl_llama.cli import (
    bench,
    cache,
    chat,
    convert,
    devices,
    doctor,
    generate,
    perplexity,
    serve,
    tune,
)
from cl_llama.cli.did_you_mean import did_you_mean
from cl_llama.cli.generate_options import add_options, misuse

COMMANDS = {
    "chat": chat,
    "serve": serve,
    "convert": convert,
    "devices": devices,
    "bench": bench,
    "perplexity": perplexity,
    "doctor": doctor,
    "tune": tune,
    "cache": cache,
}

_DESCRIPTION = """\
Run Llama-family language models on any OpenCL device.

Without a command, cl-llama continues a prompt: the text goes to standard
output as it is made, everything else to standard error."""

_EPILOG = """\
examples:
  cl-llama --prompt "Once upon a time"
  cl-llama --model-path ./Llama-3.2-1B --prompt "The capital of France is" \\
           --temperature 0 --max-new-tokens 32
  cl-llama --model-path TinyLlama/TinyLlama-1.1B-Chat-v1.0 --prompt-file p.txt
  echo "The sky is" | cl-llama --prompt - --opencl-device intel --json
  cl-llama devices

exit status: 0; 1 an error, told in one line; 2 wrong usage; 130 Ctrl-C"""


class Parser(argparse.ArgumentParser):
    """Takes options in full only; tells wrong usage in one line, with a hint; exit status 2."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Print the line and exit."""
        if message.endswith("expected one argument"):
            message += "; write --option=VALUE if the value begins with a dash"
        elif message.startswith("argument COMMAND:"):
            message = "a word belongs to no option; put a prompt of several words in quotes"
        message = " ".join(message.splitlines())
        self.exit(2, f"cl-llama: error: {message} (see {self.prog} --help)\n")

    def refuse_unknown_options(self, argv: Sequence[str]) -> None:
        """Name the first option that there is not, where argparse would complain of its value."""
        known = list(self._option_string_actions)
        for word in argv:
            name = word.split("=")[0]
            # As argparse has it: what has a blank in it is a value.
            if re.match("--[a-z]", word) and " " not in word and name not in known:
                self.error(f"there is no option {name}{did_you_mean(name, known)}")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Wide enough a first column that nearly every option is on the line of its help."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=27)


class _Version(argparse.Action):
    """Prints the version; looking it up is left until it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        import cl_llama

        print(f"cl-llama {cl_llama.__version__}")
        sys.stdout.flush()
        parser.exit()


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments; `func` is what to call with them. SystemExit for wrong usage and for help."""
    parser = make_parser()
    first = argv[0] if argv else "-"
    if first.startswith("-"):
        parser.refuse_unknown_options(argv)
    elif first not in COMMANDS:
        hint = did_you_mean(first, COMMANDS) or "; a prompt goes after --prompt"
        parser.error(f"there is no command {first!r} (there is {', '.join(COMMANDS)}){hint}")
    args = parser.parse_args(argv)
    if args.command is not None and args.command != first:
        parser.error(f"the options before {args.command} are not its own; put the command first")
    if args.command is None:
        problem = misuse(args)
        if problem is not None:
            parser.error(problem)
        if args.inference_server:
            args.func = serve.run_inference_server
    return args


def make_parser() -> Parser:
    """The parser of the whole command line."""
    parser = Parser(
        prog="cl-llama",
        usage="cl-llama [options]\n       cl-llama COMMAND [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=_HelpFormatter,
        add_help=False,
    )
    add_options(parser)
    parser.set_defaults(func=generate.run)
    other = parser.add_argument_group("other options")
    other.add_argument("-h", "--help", action="help", help="show this help and exit")
    other.add_argument(
        "-V", "--version", action=_Version, nargs=0, help="show the version and exit"
    )
    subparsers = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", prog="cl-llama"
    )
    for module in COMMANDS.values():
        module.add_parser(subparsers)
    return parser
