// records of h[t, d], rounded to integers in groups of columns; h = x, or x's RMS norm when flags & 4:
// h[t, d] = x[t, d] / sqrt(mean over d of x[t, d]^2 + eps) * norm[d]; CPU family.
//
// x_TD    float32 in   [T, D], D a multiple of 32
// norm_D  float32 in   [D], read when flags & 4
// x_TPR   uint32 out   records of block_columns.cl; GROUP 1: [T, D / 32, RECORD],
//                      else [ceil(D / 32 / GROUP), T, GROUP, RECORD]
// Global size (T), local size (1). GROUP records share a unit.

#include "block_columns.cl"

#ifndef GROUP
#define GROUP 1
#endif

#define NORM 4
#define EXPLICIT_VECTORS __attribute__((vec_type_hint(float16)))

EXPLICIT_VECTORS
__kernel void pack_columns(__global const float *x_TD, __global const float *norm_D, float eps, __global uint *x_TPR,
                           uint T, uint D, uint flags) {
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
    for (uint d0 = 0; d0 < D; d0 += 32 * GROUP) {
        float16 h[2 * GROUP], largest = 0.0f;
        uint vectors = min((uint)(2 * GROUP), (D - d0) / 16);
        for (uint i = 0; i < vectors; i++) {
            h[i] = vload16(i, x + d0);
            if (flags & NORM) h[i] *= vload16(i, norm_D + d0) * scale;
            largest = fmax(largest, fabs(h[i]));
        }
        float most = max16(largest);
        ulong at = GROUP == 1 ? t * (D / 32) + d0 / 32 : ((ulong)(d0 / (32 * GROUP)) * T + t) * GROUP;
        for (uint i = 0; i < vectors; i += 2) store_record(h[i], h[i + 1], most, x_TPR + (at + i / 2) * RECORD);
    }
}
