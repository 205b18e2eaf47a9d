// Reads one element past the end of a local array. Global and local size (16).
__kernel void canary(__global int *out, __global const int *in) {
    __local int tile[16];
    uint i = get_local_id(0);
    tile[i] = in[i];
    barrier(CLK_LOCAL_MEM_FENCE);
    out[i] = tile[i + 1];
}
