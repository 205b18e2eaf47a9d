// gate[i] = silu(gate[i]) * up[i] with silu(a) = a / (1 + exp(-a)); CPU family: CHUNK elements a work-item.
//
// gate, up  float32 in, and gate out  [count]
// Global size (ceil(count / CHUNK)), local size (1).

#include "float16.cl"

#ifndef CHUNK
#define CHUNK 1024 // elements a work-item; a multiple of 16
#endif

__kernel void swiglu(__global float *gate, __global const float *up, uint count) {
    uint begin = get_global_id(0) * CHUNK, end = min(begin + CHUNK, count);
    for (uint i = begin; i < end; i += 16) {
        float16 a = load16_float(gate + i, end - i);
        store16_float(a / (1.0f + exp(-a)) * load16_float(up + i, end - i), gate + i, end - i);
    }
}
