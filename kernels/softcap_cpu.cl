// x[i] = cap * tanh(x[i] / cap); CPU family: CHUNK elements a work-item.
//
// x  float32 in/out  [count]
// Global size (ceil(count / CHUNK)), local size (1).

#include "float16.cl"

#ifndef CHUNK
#define CHUNK 1024 // elements a work-item; a multiple of 16
#endif

__kernel void softcap(__global float *x, float cap, uint count) {
    uint begin = get_global_id(0) * CHUNK, end = min(begin + CHUNK, count);
    for (uint i = begin; i < end; i += 16)
        store16_float(cap * tanh(load16_float(x + i, end - i) / cap), x + i, end - i);
}
