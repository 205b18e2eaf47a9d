"""The pieces of a text that a model is shown, and which of their tokens it has to predict.

As llama.cpp counts: a text of N tokens has floor(N / C) windows of C tokens, one after another, and
of each the tokens after the first C / 2 + 1 are predicted, so that all have that much before them.
With a stride S the windows have C + S / 2 tokens and begin S tokens apart; the last S tokens of
each are predicted. In front of every window the BOS token takes the first token's place.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cl_llama.errors import RequestError


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of one length."""

    ids_WC: NDArray[np.int32]
    """[windows, tokens of each]: as the model gets them."""
    scored: int
    """How many of a window's last tokens are predicted."""

    @property
    def targets(self) -> NDArray[np.int32]:
        """[windows, scored]: the tokens that are predicted."""
        return self.ids_WC[:, self.ids_WC.shape[1] - self.scored :]


def cut_windows(
    ids: NDArray[np.int32],
    context: int,
    *,
    bos_id: int | None,
    stride: int | None = None,
    chunks: int | None = None,
) -> Windows:
    """The windows of a text's ids.

    context: tokens of a window, at least 4. bos_id: what begins each; None: its own first token.
    stride: see above; None: windows that do not overlap. chunks: how many windows at most.

    Raises RequestError for a text that is too short, and for sizes that leave nothing to predict.
    """
    if context < 4:
        raise RequestError(f"perplexity: a context of {context} tokens is too short; at least 4")
    if stride is None:
        length, scored, step = context, context - 1 - context // 2, context
        count = len(ids) // context
    else:
        length, scored, step = context + stride // 2, stride, stride
        if not 1 <= stride < length:
            raise RequestError(
                f"perplexity: a stride of {stride} tokens does not fit windows of {length} tokens"
            )
        count = max(0, -(-(len(ids) - length) // stride))
    if count < 1:
        raise RequestError(
            f"perplexity: the text has {len(ids)} tokens, a window takes {length}"
            f"{' and one more' if stride else ''}; take a longer text or a shorter context"
        )
    if chunks is not None:
        count = min(count, chunks)
    starts = np.arange(count)[:, None] * step
    ids_WC = ids[starts + np.arange(length)].astype(np.int32)
    return Windows(with_bos(ids_WC, bos_id), scored)


def with_bos(ids_WC: NDArray[np.int32], bos_id: int | None) -> NDArray[np.int32]:
    """The windows with the BOS token in place of each one's first."""
    ids_WC = ids_WC.copy()
    if bos_id is not None:
        ids_WC[:, 0] = bos_id
    return ids_WC
