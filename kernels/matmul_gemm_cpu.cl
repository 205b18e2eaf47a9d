// y[t, n] = (accumulate ? y[t, n] : 0) + bias[n] + sum over d of x[t, d] * w[n, d]; many rows t, CPU family.
//
// pack_rows:   x_TD    float32 in   [T, D], row t at x + t * D
//              x_PDM   float32 out  [ceil(T / TILE_T), D_padded, TILE_T], zeros where t or d is past the end
//              global size (ceil(T / TILE_T), ceil(D / 16)), local size (1, 1); D_padded = 16 * ceil(D / 16)
// matmul_gemm: w_ND    float16 in   [N, D], row n at w + w_offset + n * w_stride (elements)
//              x_PDM   float32 in   as packed
//              bias_N  float32 in   row n of w at first + n, read when flags & 2
//              y_TN    float32 out  [T, y_stride], row n of w in column first + n; added to when flags & 1
//              global size (ceil(N / TILE_N), ceil(T / rows_per_item)), local size (1, 1)
// Accumulator: float32. A work-item widens and transposes a TILE_N x TILE_D block of weights once, and then runs
// register tiles of TILE_T x 32 over its rows: two vectors of weights, TILE_T broadcasts, 2 * TILE_T multiply-adds.
// A tile of 32 columns of the block (TILE_D * 128 bytes) is meant to stay in the first-level cache.

#include "float16.cl"

#ifndef TILE_T
#define TILE_T 12 // rows of x in a register tile; 12 (24 accumulators of AVX-512's 32 registers)
#endif
#ifndef TILE_D
#define TILE_D 256 // depth of a block; a multiple of 16
#endif
#ifndef TILE_N
#define TILE_N 64 // rows of w in a block; a multiple of 32
#endif

#define ACCUMULATE 1
#define BIAS 2

#define REPEAT_T(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11)
#if TILE_T != 12
#error "TILE_T must be 12"
#endif

__kernel void pack_rows(__global const float *x_TD, __global float *x_PDM, uint T, uint D) {
    uint tile = get_global_id(0), d0 = get_global_id(1) * 16;
    uint D_padded = (D + 15) / 16 * 16;
    __global float *out = x_PDM + ((ulong)tile * D_padded + d0) * TILE_T;
    for (uint m = 0; m < TILE_T; m++) {
        uint t = tile * TILE_T + m;
        float v[16];
        vstore16(t < T ? load16_float(x_TD + (ulong)t * D + d0, D - d0) : (float16)(0.0f), 0, v);
        for (uint i = 0; i < 16; i++) out[i * TILE_T + m] = v[i];
    }
}

inline void store_tile_row(float16 a, float16 b, __global float *y, __global const float *bias_N,
                           uint count, uint flags) {
    uint count_b = count > 16 ? count - 16 : 0;
    if (flags & BIAS) {
        a += load16_float(bias_N, count);
        b += load16_float(bias_N + 16, count_b);
    }
    if (flags & ACCUMULATE) {
        a += load16_float(y, count);
        b += load16_float(y + 16, count_b);
    }
    store16_float(a, y, count);
    store16_float(b, y + 16, count_b);
}

__kernel void matmul_gemm(__global const half *w_ND, ulong w_offset, ulong w_stride,
                          __global const float *x_PDM, __global const float *bias_N,
                          __global float *y_TN, ulong y_stride, uint first, uint T, uint N, uint D,
                          uint rows_per_item, uint flags) {
    y_TN += first;
    bias_N += first;
    uint n0 = get_global_id(0) * TILE_N;
    uint t_begin = get_global_id(1) * rows_per_item, t_end = min(t_begin + rows_per_item, T);
    uint D_padded = (D + 15) / 16 * 16;
    uint block_n = min((uint)TILE_N, N - n0);
    float block_DN[TILE_N * TILE_D] __attribute__((aligned(64)));
    for (uint d0 = 0; d0 < D; d0 += TILE_D) {
        uint depth = min((uint)TILE_D, D_padded - d0);
        for (uint n = 0; n < block_n; n += 16) {
            __global const half *w = w_ND + w_offset + (ulong)(n0 + n) * w_stride + d0;
            float *out = block_DN + n / 32 * (TILE_D * 32) + n % 32;
            for (uint d = 0; d < depth; d += 16)
                transpose16_half(w + d, w_stride, block_n - n, D - d0 - d, out + d * 32, 32);
        }
        uint tile_flags = d0 == 0 ? flags : ACCUMULATE;
        for (uint n = 0; n < block_n; n += 32) {
            for (uint t = t_begin; t < t_end; t += TILE_T) {
                const float *w = block_DN + n / 32 * (TILE_D * 32);
                __global const float *x = x_PDM + ((ulong)(t / TILE_T) * D_padded + d0) * TILE_T;
#define CLEAR(m) float16 a##m = 0.0f, b##m = 0.0f;
                REPEAT_T(CLEAR)
                for (uint d = 0; d < depth; d++) {
                    float16 wa = vload16(0, w), wb = vload16(1, w);
#define STEP(m)                                       \
    {                                                 \
        float16 xm = (float16)(x[m]);                 \
        a##m = MULTIPLY_ADD(xm, wa, a##m);            \
        b##m = MULTIPLY_ADD(xm, wb, b##m);            \
    }
                    REPEAT_T(STEP)
                    w += 32;
                    x += TILE_T;
                }
                __global float *y = y_TN + (ulong)t * y_stride + n0 + n;
#define STORE(m)       \
    if (t + m < t_end) \
        store_tile_row(a##m, b##m, y + m * y_stride, bias_N + n0 + n, block_n - n, tile_flags);
                REPEAT_T(STORE)
            }
        }
    }
}
