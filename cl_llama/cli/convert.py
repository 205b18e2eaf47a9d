"""`cl-llama convert`: writes a model as a GGUF file or as a Hugging Face folder."""

import argparse
import sys
from pathlib import Path

from cl_llama.cli.loading_bar import LoadingBar
from cl_llama.errors import CheckpointError

_QUANTIZATIONS = ("q8_0", "q4_0", "q4_k")


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the program's parser."""
    parser = subparsers.add_parser(
        "convert",
        help="write a model as a GGUF file or as safetensors",
        description="Write a model of any format that is read as a GGUF file, or as a Hugging Face "
        "folder with safetensors, with its tokenizer. What is written takes its place when it is "
        "whole.",
    )
    parser.add_argument("source", metavar="IN", help="the model, as for --model-path")
    parser.add_argument("target", metavar="OUT", help="NAME.gguf, or a folder for safetensors")
    parser.add_argument(
        "--quantize",
        choices=_QUANTIZATIONS,
        help="a GGUF file's weights; q4_k gives the most sensitive ones q6_k; default: float16",
    )
    parser.add_argument(
        "--tokenizer-path",
        metavar="PATH",
        help="the tokenizer's file or folder, if it does not lie beside the model",
    )
    parser.add_argument("--no-tokenizer", action="store_true", help="leave the tokenizer out")
    parser.add_argument(
        "--param-path", metavar="FILE", help="stands in for the model's config.json or params.json"
    )
    parser.add_argument("--force", action="store_true", help="replace what is there already")
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Convert, then print what was written and how large it is."""
    from cl_llama.checkpoints import resolve_model
    from cl_llama.convert.model import convert_model

    target = Path(args.target).expanduser()
    is_gguf = target.suffix == ".gguf"
    if args.quantize is not None and not is_gguf:
        raise CheckpointError(f"{target}: --quantize needs a name that ends in .gguf")
    if target.exists() and target.is_dir() == is_gguf:
        found, advice = ("folder", "choose another name") if is_gguf else ("file", "name a folder")
        raise CheckpointError(f"{target}: there is a {found} of this name; {advice}")
    if target.exists() and not args.force:
        raise CheckpointError(f"{target}: it exists already; --force replaces it")
    with LoadingBar(sys.stderr, hidden=args.quiet, what="Converting") as bar:
        convert_model(
            resolve_model(args.source, progress=not args.quiet),
            target,
            quantize=args.quantize,
            tokenizer_path=args.tokenizer_path,
            param_path=args.param_path,
            with_tokenizer=not args.no_tokenizer,
            on_progress=bar.loaded,
        )
    files = [target] if is_gguf else list(target.iterdir())
    print(f"{target}: {sum(file.stat().st_size for file in files) / 1e6:,.1f} MB")
    return 0
