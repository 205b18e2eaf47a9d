"""The options of `cl-llama` without a command."""

import argparse

from cl_llama.cli.grammar_options import add_grammar_options
from cl_llama.cli.interactive_options import add_interactive_options, interactive_misuse
from cl_llama.cli.model_options import (
    add_device_options,
    add_model_options,
    add_template_option,
    model_misuse,
)
from cl_llama.cli.option_types import valid_text
from cl_llama.cli.sampling_options import add_end_options, add_sampling_options
from cl_llama.cli.server_options import add_rllama_options, rllama_misuse


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a generation to the program's parser."""
    add_model_options(parser.add_argument_group("model"))
    prompt = parser.add_argument_group("prompt")
    prompts = prompt.add_mutually_exclusive_group()
    prompts.add_argument(
        "--prompt",
        type=valid_text,
        metavar="TEXT",
        help="the text to continue; - reads it from standard input; default: none, the model "
        "begins by itself",
    )
    prompts.add_argument(
        "--prompt-file",
        metavar="FILE",
        help="read the prompt from a UTF-8 file; a line break at its very end is left out",
    )
    prompt.add_argument(
        "--no-bos", action="store_true", help="put no beginning-of-text token before the prompt"
    )
    _add_chat(parser.add_argument_group("chat"))
    add_interactive_options(parser.add_argument_group("conversation in plain text"))
    add_sampling_options(parser.add_argument_group("sampling"))
    add_grammar_options(parser.add_argument_group("form of the text"))
    add_end_options(parser.add_argument_group("end of the text"))
    add_device_options(parser.add_argument_group("device"))
    add_rllama_options(parser.add_argument_group("server"))
    _add_output(parser.add_argument_group("output"))


def misuse(args: argparse.Namespace) -> str | None:
    """What is wrong about options that are right on their own; None: nothing."""
    problem = model_misuse(args) or interactive_misuse(args) or rllama_misuse(args)
    if problem is not None or args.inference_server:
        return problem
    if not args.chat:
        for option in ("system_prompt", "chat_template"):
            if getattr(args, option) is not None:
                return f"argument --{option.replace('_', '-')}: goes with --chat"
    elif args.no_bos:
        return "argument --no-bos: not with --chat, whose template begins the text"
    elif args.prompt is None and args.prompt_file is None:
        return "argument --chat: goes with --prompt or --prompt-file, the user's message"
    return None


def _add_chat(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--chat",
        action="store_true",
        help="the prompt is a user's message, written in the model's chat template; the text is "
        "the answer",
    )
    group.add_argument(
        "--system-prompt", type=valid_text, metavar="TEXT", help="what the model is told before it"
    )
    add_template_option(group)


def _add_output(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--echo", action="store_true", help="print the prompt before the text")
    group.add_argument(
        "--json",
        action="store_true",
        help="print a JSON object at the end: the text, its tokens, why it ended, times",
    )
    amount = group.add_mutually_exclusive_group()
    amount.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    amount.add_argument(
        "--verbose", action="store_true", help="show the device, times and speeds at the end"
    )
