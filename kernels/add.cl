// x[i] += y[i]; portable: one work-item an element.
//
// x  float32 in/out  [count]
// y  float32 in      [count]
// Global size at least count, any local size.

__kernel void add(__global float *x, __global const float *y, uint count) {
    uint i = get_global_id(0);
    if (i < count) x[i] += y[i];
}
