// x[i] = gelu(x[i]), GELU_TANH of activation.cl; portable: one work-item an element.
//
// x  float32 in/out  [count]
// Global size at least count, any local size.

#include "activation.cl"

__kernel void gelu(__global float *x, uint count) {
    uint i = get_global_id(0);
    if (i < count) x[i] = GELU_TANH(x[i]);
}
