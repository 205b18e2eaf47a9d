"""The options of a conversation in plain text, as RLLaMA has them."""

import argparse

from cl_llama.cli.option_types import nonempty_text, valid_text

# RLLaMA's own; they suit Vicuna.
SYSTEM_PROMPT = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives "
    "helpful, terse answers to the human's questions.### Human:"
)
PREFIX, POSTFIX = " ", "### Assistant:"
STOPS = ("### Human:", "###Human:", "[EOF]")

_OPTIONS = (
    "interactive_stop",
    "interactive_system_prompt",
    "interactive_prompt_prefix",
    "interactive_prompt_postfix",
)


def add_interactive_options(group: "argparse._ArgumentGroup") -> None:
    """Add the options that talk with a model in plain text, without a template."""
    group.add_argument(
        "--start-interactive",
        action="store_true",
        help="talk in plain text, as with base models: what is typed and what the model writes, "
        "in turn; cl-llama chat talks in the model's template",
    )
    group.add_argument(
        "--interactive-stop",
        type=nonempty_text,
        action="append",
        metavar="TEXT",
        help="where the model writes this, the next message is yours; may be given several times, "
        f"and span lines; default: {', '.join(STOPS)}",
    )
    group.add_argument(
        "--interactive-system-prompt",
        type=valid_text,
        metavar="TEXT",
        help="what the text begins with; default: an introduction that suits Vicuna",
    )
    group.add_argument(
        "--interactive-prompt-prefix",
        type=valid_text,
        metavar="TEXT",
        help='put before what is typed; default: " "',
    )
    group.add_argument(
        "--interactive-prompt-postfix",
        type=valid_text,
        metavar="TEXT",
        help=f'put behind it; default: "{POSTFIX}"',
    )


def interactive_misuse(args: argparse.Namespace) -> str | None:
    """What is wrong about these options together with others; None: nothing."""
    if not args.start_interactive:
        for option in _OPTIONS:
            if getattr(args, option) is not None:
                return f"argument {_flag(option)}: goes with --start-interactive"
        return None
    for option in ("prompt", "prompt_file"):
        if getattr(args, option) is not None:
            return (
                f"argument --start-interactive: not with {_flag(option)}; "
                "--interactive-system-prompt is what the text begins with"
            )
    if args.chat:
        return "argument --start-interactive: not with --chat; cl-llama chat talks in a template"
    for option in ("json_object", "json_schema", "grammar", "json", "echo"):
        if getattr(args, option):
            return f"argument --start-interactive: not with {_flag(option)}"
    return None


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"
