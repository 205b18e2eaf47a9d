// gate[i] = silu(gate[i]) * up[i]; with GELU 1, geglu: gelu(gate[i]) * up[i]; CPU family: CHUNK elements a work-item. The
// functions are those of activation.cl.
//
// gate, up  float32 in, and gate out  [count]
// Global size (ceil(count / CHUNK)), local size (1).

#include "activation.cl"
#include "float16.cl"

#ifndef CHUNK
#define CHUNK 1024 // elements a work-item; a multiple of 16
#endif

__kernel void swiglu(__global float *gate, __global const float *up, uint count) {
    uint begin = get_global_id(0) * CHUNK, end = min(begin + CHUNK, count);
    for (uint i = begin; i < end; i += 16) {
        float16 a = load16_float(gate + i, end - i);
        store16_float(ACTIVATION(a) * load16_float(up + i, end - i), gate + i, end - i);
    }
}
