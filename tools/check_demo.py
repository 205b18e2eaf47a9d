"""Check stories that the embedded model wrote: are they consistent, and how much is copied?

    python tools/check_demo.py                      50 stories, sampled by cl-llama
    cl-llama --prompt "..." --echo | python tools/check_demo.py --from-file -

A file holds one story a line. Prints each story's faults; the last line is JSON.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from demo_stories import check_story
from demo_stories.corpus import overlap, plain_texts, training_texts
from sentencepiece import SentencePieceProcessor

MODEL = Path(__file__).resolve().parents[1] / "cl_llama" / "demo"


def sampled_texts(prompt: str, count: int, temperature: float, seed: int) -> Iterable[str]:
    """Stories by cl-llama on its default device, top-k as the command has it."""
    from cl_llama import Llama, SamplingParams

    with Llama.from_pretrained(str(MODEL)) as llm:
        for index in range(count):
            params = SamplingParams(
                max_new_tokens=400, temperature=temperature, top_k=20, seed=seed + index
            )
            yield prompt + llm.generate(prompt, params).text


def main() -> None:
    """Read or sample the stories, check them, print the shares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--from-file", help="stories, one a line; - is standard input")
    parser.add_argument("--count", type=int, default=50, help="how many to sample")
    parser.add_argument("--prompt", default="Once upon a time")
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    if args.from_file is None:
        texts = list(sampled_texts(args.prompt, args.count, args.temperature, args.seed))
    else:
        source = sys.stdin.read() if args.from_file == "-" else Path(args.from_file).read_text()
        texts = [line.strip() for line in source.splitlines() if line.strip()]
    if not texts:
        parser.error("no story to check")

    consistent = 0
    for index, text in enumerate(texts):
        faults = check_story(text)
        consistent += not faults
        for fault in faults:
            print(f"story {index + 1}: {fault}")
    tokenizer = SentencePieceProcessor(model_file=str(MODEL / "tokenizer.model"))
    training = itertools.chain(training_texts(), plain_texts())
    copied = overlap(map(tokenizer.encode, texts), map(tokenizer.encode, training))
    result = {
        "stories": len(texts),
        "consistent": consistent / len(texts),
        "copied": copied,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
