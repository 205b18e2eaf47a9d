// Copies an element of a local array that nothing wrote. Global and local size (16).
__kernel void canary(__global int *out, __global const int *in) {
    __local int tile[32];
    uint i = get_local_id(0);
    tile[i] = in[i];
    barrier(CLK_LOCAL_MEM_FENCE);
    out[i] = tile[i + 16];
}
