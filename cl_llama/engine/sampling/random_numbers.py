"""Random numbers that depend on a request's seed, the step and their use, and on nothing else.

Philox (Salmon et al., SC 2011) with the seed as key and step and use as counter.
"""

from typing import Final

import numpy as np

DRAW: Final = 0
"""The number that picks the token."""
XTC_COIN: Final = 1
"""The number that says whether XTC is applied."""


def uniform(seed: int, step: int, use: int) -> float:
    """A number in [0, 1), at most 1 - 2**-53; seed below 2**64."""
    bits = np.random.Philox(key=seed, counter=step + (use << 64)).random_raw()
    return float(int(bits) >> 11) * 2.0**-53
