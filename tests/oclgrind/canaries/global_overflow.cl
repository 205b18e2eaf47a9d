// Writes one element past the end of out [16]. Global size (16).
__kernel void canary(__global int *out, __global const int *in) {
    uint i = get_global_id(0);
    out[i + 1] = in[i];
}
