// All work-items write the same element, different values. Global size (16).
__kernel void canary(__global int *out, __global const int *in) {
    out[0] = in[0] + (int)get_global_id(0);
}
