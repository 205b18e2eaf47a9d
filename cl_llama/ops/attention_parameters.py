"""How attention is divided, where the best division differs from device to device."""

from cl_llama.opencl.tuning import Parameter

_DECODE = (700, 4000)
"""Contexts that single tokens meet in a tuner's measurements."""
_PREFILL = (0, 1000)
"""Contexts before several tokens."""

ITEMS_PER_UNIT = Parameter(
    "attention.cpu.items_per_unit",
    "pieces that a core should have of the contexts of few new tokens, so that cores end together",
    default=2,
    values=(1, 2, 3, 4),
    rows=(1,),
    contexts=_DECODE,
)
LEAST_CHUNK = Parameter(
    "attention.cpu.least_chunk",
    "positions of such a piece at least",
    default=256,
    values=(128, 256, 512, 1024),
    rows=(1,),
    contexts=_DECODE,
)
ITEM_ROWS = Parameter(
    "attention.cpu.item_rows",
    "rows, pairs of a new token and a query head, that read such a piece together, at most",
    default=8,
    values=(2, 4, 8),
    rows=(1,),
    contexts=_DECODE,
)
SPAN = Parameter(
    "attention.cpu.span",
    "blocks of a context whose scores of few new tokens are held together",
    default=16,
    values=(8, 16, 32),
    rows=(1,),
    contexts=_DECODE,
)
TILE_ROWS = Parameter(
    "attention.cpu.tile_rows",
    "rows of many new tokens that meet keys and values together, at most",
    default=64,
    values=(32, 64, 128),
    rows=(256,),
    contexts=_PREFILL,
)
STEP = Parameter(
    "attention.cpu.step",
    "blocks of keys and values that such rows meet at a time",
    default=2,
    values=(1, 2, 4),
    rows=(256,),
    contexts=_PREFILL,
)
GROUPS_PER_UNIT = Parameter(
    "attention.portable.groups_per_unit",
    "work-groups that a compute unit should have of the contexts of single new tokens",
    default=4,
    values=(1, 2, 4, 8, 16),
    rows=(1,),
    contexts=_DECODE,
)
CHUNK_GROUP = Parameter(
    "attention.portable.chunk_group",
    "work-items of such a group",
    default=64,
    values=(64, 128),
    rows=(1,),
    contexts=_DECODE,
)
CHUNK_HEADS = Parameter(
    "attention.portable.chunk_heads",
    "query heads of such a group, at most; half as many of more than 128 elements",
    default=8,
    values=(2, 4, 8),
    rows=(1,),
    contexts=_DECODE,
)
PORTABLE_TILE_ROWS = Parameter(
    "attention.portable.tile_rows",
    "rows of several new tokens of a work-group; half as many of more than 128 elements",
    default=32,
    values=(16, 32),
    rows=(256,),
    contexts=_PREFILL,
)
PORTABLE_TILE_KEYS = Parameter(
    "attention.portable.tile_keys",
    "keys that such rows meet at a time; half as many of more than 128 elements",
    default=32,
    values=(16, 32),
    rows=(256,),
    contexts=_PREFILL,
)
PARAMETERS = (
    ITEMS_PER_UNIT,
    LEAST_CHUNK,
    ITEM_ROWS,
    SPAN,
    TILE_ROWS,
    STEP,
    GROUPS_PER_UNIT,
    CHUNK_GROUP,
    CHUNK_HEADS,
    PORTABLE_TILE_ROWS,
    PORTABLE_TILE_KEYS,
)
