// Rows of activations as float16 numbers for a matrix unit. Included; defines one kernel.
//
// pack_halves: x_TD    float32 in   [T, D]
//              x_TE    float16 out  of each row, scaled by a power of two that brings its largest value to 2^14, the value
//                                   rounded, with PARTS 2 the rounded rest of it, and the inverse scale as a float32;
//                                   zeros past D up to D_padded = TILE_D * ceil(D / TILE_D)
//              global size (64 * T), local size (64)
// Two float16 parts hold 22 bits of an activation; one part holds 11.
// The file that includes this defines PARTS, TILE_D and where things go, as elements of x_TE; T and D_padded may be used:
// HALF_AT(t, part, d)  column d of a part of row t
// SCALE_AT(t)          the inverse scale of row t, a multiple of 2

__kernel void pack_halves(__global const float *x_TD, __global half *x_TE, uint T, uint D) {
    __local float largest[64];
    uint item = get_local_id(0), t = get_group_id(0), D_padded = (D + TILE_D - 1) / TILE_D * TILE_D;
    __global const float *x = x_TD + (ulong)t * D;
    float most = 0.0f;
    for (uint d = item; d < D; d += 64) most = fmax(most, fabs(x[d]));
    largest[item] = most;
    for (uint half_group = 32; half_group > 0; half_group /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE); // the maxima of the previous round are all written
        if (item < half_group) largest[item] = fmax(largest[item], largest[item + half_group]);
    }
    barrier(CLK_LOCAL_MEM_FENCE); // the maximum is written before every item reads it
    int exponent = largest[0] > 0.0f ? clamp(ilogb(largest[0]), -100, 126) - 14 : 0;
    float scale = ldexp(1.0f, -exponent);
    for (uint d = item; d < D_padded; d += 64) {
        float value = d < D ? x[d] * scale : 0.0f;
        vstore_half_rte(value, HALF_AT(t, 0, d), x_TE);
#if PARTS == 2
        vstore_half_rte(value - vload_half(HALF_AT(t, 0, d), x_TE), HALF_AT(t, 1, d), x_TE);
#endif
    }
    if (item == 0) *(__global float *)(x_TE + SCALE_AT(t)) = ldexp(1.0f, exponent);
}
