// x[i] = gelu(x[i]), GELU_TANH of activation.cl; CPU family: CHUNK elements a work-item.
//
// x  float32 in/out  [count]
// Global size (ceil(count / CHUNK)), local size (1).

#include "activation.cl"
#include "float16.cl"

#ifndef CHUNK
#define CHUNK 1024 // elements a work-item; a multiple of 16
#endif

__kernel void gelu(__global float *x, uint count) {
    uint begin = get_global_id(0) * CHUNK, end = min(begin + CHUNK, count);
    for (uint i = begin; i < end; i += 16) {
        float16 a = load16_float(x + i, end - i);
        store16_float(GELU_TANH(a), x + i, end - i);
    }
}
