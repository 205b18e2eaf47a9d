// records of h[t, d], rounded to bytes in groups of 32 columns; h = x, or x's RMS norm when flags & 4:
// h[t, d] = x[t, d] / sqrt(mean over d of x[t, d]^2 + eps) * norm[d]; CPU family.
//
// x_TD    float32 in   [T, D], D a multiple of 32
// norm_D  float32 in   [D], read when flags & 4
// x_PTR   uint32 out   [D / 32, T, X_WORDS], records of block_dots.cl for products with weights of FORMAT
// Global size (T), local size (1).

#include "block_dots.cl"

#if LIMBS == 1
#define LARGEST 127.0f
#elif LIMBS == 2
#define LARGEST 32639.0f // 127 * 256 + 127
#else
#define LARGEST 8355000.0f // 127 * 65536 + 127 * 256 + 127 and some for rounding
#endif

#define NORM 4
#define EXPLICIT_VECTORS __attribute__((vec_type_hint(float16)))

// The lowest limb of a, signed; a keeps what the higher ones stand for.
inline int16 split_limb(int16 *a) {
    int16 limb = ((*a + 128) & 255) - 128;
    *a = (*a - limb) >> 8;
    return limb;
}

inline int sum_of(int16 a) {
    int8 b = a.lo + a.hi;
    int4 c = b.lo + b.hi;
    return c.x + c.y + c.z + c.w;
}

EXPLICIT_VECTORS
__kernel void pack_bytes(__global const float *x_TD, __global const float *norm_D, float eps, __global uint *x_PTR, uint T,
                         uint D, uint flags) {
    uint t = get_global_id(0);
    __global const float *x = x_TD + (ulong)t * D;
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
        if (flags & NORM) lo *= vload16(0, norm_D + d) * scale, hi *= vload16(1, norm_D + d) * scale;
        float most = max16(fmax(fabs(lo), fabs(hi)));
        float unit = most / LARGEST, per_unit = most > 0.0f ? LARGEST / most : 0.0f;
        int16 first = convert_int16(rint(lo * per_unit)), second = convert_int16(rint(hi * per_unit));
        __global uint *record = x_PTR + ((ulong)(d / 32) * T + t) * X_WORDS;
        __global char *bytes = (__global char *)record;
        record[X_UNIT] = as_uint(unit);
        record[X_TOTAL] = as_uint((float)(sum_of(first) + sum_of(second)) * unit);
#pragma unroll
        for (int l = LIMBS - 1; l >= 0; l--) {
            int16 a = split_limb(&first), b = split_limb(&second);
            vstore16(convert_char16(a), 2 * l, bytes);
            vstore16(convert_char16(b), 2 * l + 1, bytes);
#if HALVES == 2
            record[X_CORRECTION + 2 * l] = -OFFSET * sum_of(a);
            record[X_CORRECTION + 2 * l + 1] = -OFFSET * sum_of(b);
#else
            record[X_CORRECTION + l] = -OFFSET * (sum_of(a) + sum_of(b));
#endif
        }
    }
}
