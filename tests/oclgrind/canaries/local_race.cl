// Reads what another work-item writes, without a barrier between. Global and local size (16).
__kernel void canary(__global int *out, __global const int *in) {
    __local int tile[16];
    uint i = get_local_id(0);
    tile[i] = in[i];
    out[i] = tile[15 - i];
}
