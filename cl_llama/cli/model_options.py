"""The options that say which model runs on which device, and loading what they say."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cl_llama.cli.option_types import at_least_one, valid_text

if TYPE_CHECKING:
    from cl_llama.cli.loading_bar import LoadingBar
    from cl_llama.llm import Llama


def add_model_options(model: "argparse._ArgumentGroup") -> None:
    """Add the options that name a model's files and say how long its context is."""
    model.add_argument(
        "--model-path",
        metavar="PATH",
        help="a model's folder or file (.safetensors, .pth, .gguf, llama2.c's .bin), or its name "
        "on the Hugging Face hub: OWNER/NAME, or OWNER/NAME:Q4_K_M for a GGUF file; default: the "
        "small embedded model",
    )
    model.add_argument(
        "--tokenizer-path",
        metavar="PATH",
        help="the tokenizer's file or folder, if it does not lie beside the model",
    )
    model.add_argument(
        "--param-path", metavar="FILE", help="stands in for the model's config.json or params.json"
    )
    model.add_argument(
        "--max-seq-len",
        type=at_least_one,
        metavar="N",
        help="prompt and text together, in tokens; default: the model's own length, shortened to "
        "what fits the device",
    )
    add_speculation_options(model)


def add_speculation_options(group: "argparse._ArgumentGroup") -> None:
    """Add the options that say how the next tokens are guessed."""
    group.add_argument(
        "--speculative",
        choices=("lookup", "draft"),
        help="guess how the text goes on and compute several tokens at once where the guess is "
        "right; the text stays the same. lookup: as it went on after the same tokens before, which "
        "speeds up texts that repeat or quote their prompt; draft: as --draft-model says",
    )
    group.add_argument(
        "--draft-model",
        metavar="PATH",
        help="a smaller model of the same vocabulary that guesses, named as --model-path names one",
    )
    group.add_argument(
        "--draft-tokens",
        type=at_least_one,
        metavar="N",
        help="tokens to guess for a step, at most; default: what suits",
    )


def add_template_option(group: "argparse._ArgumentGroup") -> None:
    """Add the option that names another chat template than the model's own."""
    group.add_argument(
        "--chat-template",
        type=valid_text,
        metavar="FILE|NAME|TEXT",
        help="another Jinja2 template: a file, a name among the model's own, llama2, llama3, "
        "chatml, or a template itself",
    )


def add_device_options(group: "argparse._ArgumentGroup") -> None:
    """Add the options that say where a model runs and what its numbers are held in."""
    group.add_argument(
        "--opencl-device",
        metavar="N|NAME",
        help="number or part of the name, as cl-llama devices lists them; default: CL_LLAMA_DEVICE,"
        " else the best one",
    )
    add_number_formats(group)
    group.add_argument(
        "--f16",
        action="store_true",
        help="accepted for RLLaMA's sake: the weights are float16 always",
    )
    group.add_argument(
        "--max-threads",
        type=at_least_one,
        metavar="N",
        help="on CPU devices, the most cores to run on; default: all",
    )
    group.add_argument(
        "--no-mmap",
        action="store_true",
        help="on CPU devices, copy float16 weights instead of computing in the files, which "
        "must not be cut short meanwhile",
    )


def add_number_formats(group: "argparse._ArgumentGroup") -> None:
    """Add the options that say what a model's numbers are held in and multiplied as."""
    group.add_argument(
        "--precision",
        choices=("high", "fast"),
        help="high, the default with float weights: as exact as float32; fast, the default with "
        "quantised ones: one pass of the device's matrix unit (Intel AMX, NVIDIA's tensor cores, "
        "Intel's XMX), where it has one, and products of integers with blocks",
    )
    group.add_argument(
        "--quantize",
        choices=("q8_0", "q4_0", "q4_k"),
        help="bring float weights into blocks of 8 or 4 bits as they are loaded",
    )
    group.add_argument(
        "--kv-type",
        choices=("f16", "q8_0"),
        default="f16",
        help="what the cache holds of keys and values: f16, the default, or q8_0, bytes with a "
        "scale for every 32, in about half of the memory",
    )


def model_misuse(args: argparse.Namespace) -> str | None:
    """What is wrong about a model's options that are right on their own; None: nothing."""
    if args.model_path is None:
        for option in ("tokenizer_path", "param_path"):
            if getattr(args, option) is not None:
                flag = f"--{option.replace('_', '-')}"
                return f"argument {flag}: goes with --model-path; the embedded model has its own"
    if args.speculative == "draft" and args.draft_model is None:
        return "argument --speculative: draft goes with --draft-model"
    if args.speculative == "lookup" and args.draft_model is not None:
        return "argument --draft-model: not with --speculative lookup"
    if args.draft_tokens is not None and args.speculative is None and args.draft_model is None:
        return "argument --draft-tokens: goes with --speculative or --draft-model"
    return None


def load_llama(
    args: argparse.Namespace,
    device: int,
    bar: "LoadingBar",
    *,
    prefix_cache: bool = True,
    cache_tokens: int | None = None,
) -> "Llama":
    """Load what the options name on a device, by its index; raises ClLlamaError."""
    from cl_llama.llm import Llama

    return Llama.from_pretrained(
        args.model_path,
        device=device,
        tokenizer_path=args.tokenizer_path,
        param_path=args.param_path,
        chat_template=args.chat_template,
        max_seq_len=args.max_seq_len,
        precision=args.precision,
        kv_type=args.kv_type,
        quantize=args.quantize,
        max_threads=args.max_threads,
        use_mmap=not args.no_mmap,
        cache_tokens=cache_tokens,
        prefix_cache=prefix_cache,
        draft=args.draft_model,
        speculate=args.speculative,
        draft_tokens=args.draft_tokens,
        progress=bar.visible,
        on_progress=bar.loaded,
    )


def model_name(args: argparse.Namespace) -> str:
    """What to call the model that the options name: a file's or folder's name, or the hub's."""
    if args.model_path is None:
        return "the embedded model"
    path = Path(args.model_path).expanduser()
    return path.resolve().name if path.exists() else str(args.model_path)
