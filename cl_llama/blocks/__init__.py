"""Block-quantised weights: consecutive values of a row share scales, as GGUF files store them.

The layouts are those of the GGUF format, the names GGUF's in lower case. Nothing here knows of
files or devices: arrays of bytes in, arrays of float32 out, and back.
"""

from cl_llama.blocks.codec import dequantize, quantize
from cl_llama.blocks.formats import FORMATS, GGUF_TYPES, QUANTIZABLE, BlockFormat

__all__ = ["FORMATS", "GGUF_TYPES", "QUANTIZABLE", "BlockFormat", "dequantize", "quantize"]
