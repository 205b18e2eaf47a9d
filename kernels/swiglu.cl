// gate[i] = silu(gate[i]) * up[i] with silu(a) = a / (1 + exp(-a)); portable: one work-item an element.
//
// gate, up  float32 in, and gate out  [count]
// Global size at least count, any local size.

__kernel void swiglu(__global float *gate, __global const float *up, uint count) {
    uint i = get_global_id(0);
    if (i < count) gate[i] = gate[i] / (1.0f + exp(-gate[i])) * up[i];
}
