// gate[i] = silu(gate[i]) * up[i]; with GELU 1, geglu: gelu(gate[i]) * up[i]; portable: one work-item an element. The
// functions are those of activation.cl.
//
// gate, up  float32 in, and gate out  [count]
// Global size at least count, any local size.

#include "activation.cl"

__kernel void swiglu(__global float *gate, __global const float *up, uint count) {
    uint i = get_global_id(0);
    if (i < count) gate[i] = ACTIVATION(gate[i]) * up[i];
}
