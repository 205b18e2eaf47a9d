// x[i] = gelu(x[i]) with gelu(a) = a / 2 * (1 + tanh(u)) = a / (1 + exp(-2 u)), u = sqrt(2 / pi) * (a + 0.044715 a^3);
// CPU family: CHUNK elements a work-item.
//
// x  float32 in/out  [count]
// Global size (ceil(count / CHUNK)), local size (1).

#include "float16.cl"

#ifndef CHUNK
#define CHUNK 1024 // elements a work-item; a multiple of 16
#endif

__kernel void gelu(__global float *x, uint count) {
    uint begin = get_global_id(0) * CHUNK, end = min(begin + CHUNK, count);
    for (uint i = begin; i < end; i += 16) {
        float16 a = load16_float(x + i, end - i);
        store16_float(a / (1.0f + exp(-1.5957691216f * (a + 0.044715f * a * a * a))), x + i, end - i);
    }
}
