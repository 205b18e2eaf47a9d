"""Names, sizes and GGUF's numbers of the formats that a tensor's values come in."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BlockFormat:
    """A format that stores `elements` consecutive values of a row in `nbytes` bytes."""

    name: str
    elements: int
    nbytes: int

    def row_bytes(self, columns: int) -> int:
        """Bytes of a row of `columns` values, which must be a multiple of `elements`."""
        if columns % self.elements:
            raise ValueError(
                f"{self.name}: a row of {columns} values is no multiple of {self.elements}"
            )
        return columns // self.elements * self.nbytes


FORMATS = {
    one.name: one
    for one in (
        BlockFormat("q8_0", 32, 34),
        BlockFormat("q4_0", 32, 18),
        BlockFormat("q4_1", 32, 20),
        BlockFormat("q5_0", 32, 22),
        BlockFormat("q5_1", 32, 24),
        BlockFormat("q2_k", 256, 84),
        BlockFormat("q3_k", 256, 110),
        BlockFormat("q4_k", 256, 144),
        BlockFormat("q5_k", 256, 176),
        BlockFormat("q6_k", 256, 210),
        BlockFormat("iq4_nl", 32, 18),
        BlockFormat("iq4_xs", 256, 136),
    )
}
"""Every block format, by name."""

QUANTIZABLE = ("q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q4_k", "q5_k", "q6_k")
"""The formats that `quantize` makes; the others are read only."""

GGUF_TYPES = {
    0: "f32",
    1: "f16",
    2: "q4_0",
    3: "q4_1",
    6: "q5_0",
    7: "q5_1",
    8: "q8_0",
    10: "q2_k",
    11: "q3_k",
    12: "q4_k",
    13: "q5_k",
    14: "q6_k",
    20: "iq4_nl",
    23: "iq4_xs",
    30: "bf16",
}
"""The format behind a tensor type's number in a GGUF file; types that are not here are unknown."""
