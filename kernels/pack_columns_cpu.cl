// records of h[t, d], rounded to 16 or (LEVELS 2) 32 bits in groups of 32 columns; h = x, or x's RMS norm when flags & 4:
// h[t, d] = x[t, d] / sqrt(mean over d of x[t, d]^2 + eps) * norm[d]; CPU family.
//
// x_TD    float32 in   [T, D], D a multiple of 32
// norm_D  float32 in   [D], read when flags & 4
// x_TPR   uint32 out   [T, D / 32, RECORD], records of block_columns.cl
// Global size (T), local size (1).

#include "block_columns.cl"

#define NORM 4
#define EXPLICIT_VECTORS __attribute__((vec_type_hint(float16)))

EXPLICIT_VECTORS
__kernel void pack_columns(__global const float *x_TD, __global const float *norm_D, float eps, __global uint *x_TPR,
                           uint D, uint flags) {
    ulong t = get_global_id(0);
    __global const float *x = x_TD + t * D;
    float scale = 1.0f;
    if (flags & NORM) {
        float16 squares = 0.0f;
        for (uint d = 0; d < D; d += 16) {
            float16 v = vload16(0, x + d);
            squares = MULTIPLY_ADD(v, v, squares);
        }
        scale = 1.0f / sqrt(sum16(squares) / D + eps);
    }
    for (uint d = 0; d < D; d += 32) {
        float16 lo = vload16(0, x + d), hi = vload16(1, x + d);
        if (flags & NORM) {
            lo *= vload16(0, norm_D + d) * scale;
            hi *= vload16(1, norm_D + d) * scale;
        }
        store_record(lo, hi, x_TPR + (t * D + d) / 32 * RECORD);
    }
}
