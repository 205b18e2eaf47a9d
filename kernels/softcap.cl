// x[i] = cap * tanh(x[i] / cap); portable: one work-item an element.
//
// x  float32 in/out  [count]
// Global size at least count, any local size.

__kernel void softcap(__global float *x, float cap, uint count) {
    uint i = get_global_id(0);
    if (i < count) x[i] = cap * tanh(x[i] / cap);
}
