// y[t, n] = (accumulate ? y[t, n] : 0) + bias[n] + sum over d of x[t, d] * w[n, d]; several rows t, CPU family.
//
// pack_few:   x_TD    float32 in   [T, D], row t at x + t * D
//             x_CTL   float32 out  [ceil(D / 16), T, 16], zeros where d is past the end
//             global size (ceil(D / 16)), local size (1)
// matmul_few: w_ND    float16 in   [N, D], row n at w + w_offset + n * w_stride (elements)
//             x_CTL   float32 in   as packed; T <= MAX_T
//             bias_N  float32 in   row n of w at first + n, read when flags & 2
//             y_TN    float32 out  [T, y_stride], row n of w in column first + n; added to when flags & 1
//             global size (ceil(N / ROWS)), local size (1)
// Accumulator: float32 in 16 lanes of the depth. A work-item has ROWS rows of w; pieces of them, TILE_D columns, meet
// all rows of x in register tiles of TILE_T x TILE_N, widened on the way. The next piece is prefetched meanwhile.

#include "float16.cl"

#ifndef TILE_T
#define TILE_T 8 // rows of x in a register tile
#endif
#ifndef TILE_N
#define TILE_N 3 // rows of w in a register tile
#endif
#ifndef MAX_T
#define MAX_T 16 // most rows of x; a multiple of TILE_T
#endif
#ifndef TILE_D
#define TILE_D 512 // columns of a piece; a multiple of 32
#endif
#ifndef ROWS
#define ROWS 24 // rows of w of a work-item; a multiple of TILE_N
#endif

// Intel's compiler then does not try to make vectors across work-items, which takes it seconds.
#define EXPLICIT_VECTORS __attribute__((vec_type_hint(float16)))

#define ACCUMULATE 1
#define BIAS 2

EXPLICIT_VECTORS
__kernel void pack_few(__global const float *x_TD, __global float *x_CTL, uint T, uint D) {
    uint d = get_global_id(0) * 16;
    for (uint t = 0; t < T; t++)
        vstore16(load16_float(x_TD + (ulong)t * D + d, D - d), 0, x_CTL + ((ulong)get_global_id(0) * T + t) * 16);
}

// The tile's multiply-adds with 16 columns.
#define MULTIPLY(LOAD)                                                                                \
    {                                                                                                 \
        float16 wv[TILE_N];                                                                           \
        _Pragma("unroll") for (uint i = 0; i < TILE_N; i++) wv[i] = LOAD;                             \
        _Pragma("unroll") for (uint m = 0; m < TILE_T; m++) {                                         \
            float16 xv = vload16(0, x + at[m]);                                                       \
            _Pragma("unroll") for (uint i = 0; i < TILE_N; i++) a[m][i] = MULTIPLY_ADD(wv[i], xv, a[m][i]); \
        }                                                                                             \
    }

EXPLICIT_VECTORS
__kernel void matmul_few(__global const half *w_ND, ulong w_offset, ulong w_stride,
                         __global const float *x_CTL, __global const float *bias_N,
                         __global float *y_TN, ulong y_stride, uint first, uint T, uint N, uint D,
                         uint flags) {
    y_TN += first;
    bias_N += first;
    uint n0 = get_global_id(0) * ROWS, rows = min((uint)ROWS, N - n0);
    float sums[MAX_T * ROWS * 16] __attribute__((aligned(64)));
    for (uint d0 = 0; d0 < D; d0 += TILE_D) {
        uint end = min(d0 + TILE_D, D);
        for (uint n = 0; n < rows; n += TILE_N) {
            // Rows past the end repeat the last one; their sums are not stored.
            __global const half *w[TILE_N];
#pragma unroll
            for (uint i = 0; i < TILE_N; i++) w[i] = w_ND + w_offset + (ulong)(n0 + min(n + i, rows - 1)) * w_stride;
            // The same rows' next piece, or the first one of the next item's, in cache lines of 32 halves.
            uint ahead = end < D ? end : 0, line = 0, tiles = (T + TILE_T - 1) / TILE_T;
            __global const half *next = w[0] + (end < D ? 0 : ROWS * w_stride) + ahead;
            for (uint t = 0; t < T; t += TILE_T) {
                for (uint stop = (t / TILE_T + 1) * (TILE_N * TILE_D / 32) / tiles; line < stop; line++)
                    PREFETCH(next + line / (TILE_D / 32) * w_stride + line % (TILE_D / 32) * 32);
                float *tile = sums + (t * ROWS + n * TILE_T) * 16;
                float16 a[TILE_T][TILE_N];
                uint at[TILE_T];
#pragma unroll
                for (uint m = 0; m < TILE_T; m++) {
                    at[m] = min(t + m, T - 1) * 16;
#pragma unroll
                    for (uint i = 0; i < TILE_N; i++)
                        a[m][i] = d0 == 0 ? (float16)(0.0f) : vload16(m * TILE_N + i, tile);
                }
                __global const float *x = x_CTL + (ulong)(d0 / 16) * T * 16;
                uint d = d0;
                for (; d + 16 <= end; d += 16, x += T * 16) MULTIPLY(vload_half16(0, w[i] + d))
                if (d < end) MULTIPLY(load16_half(w[i] + d, D - d))
                if (end < D) {
#pragma unroll
                    for (uint m = 0; m < TILE_T; m++) {
#pragma unroll
                        for (uint i = 0; i < TILE_N; i++) vstore16(a[m][i], m * TILE_N + i, tile);
                    }
                    continue;
                }
#pragma unroll
                for (uint m = 0; m < TILE_T; m++) {
#pragma unroll
                    for (uint i = 0; i < TILE_N; i++) {
                        float value = sum16(a[m][i]);
                        if (t + m >= T || n + i >= rows) continue;
                        __global float *y = y_TN + (ulong)(t + m) * y_stride + n0 + n + i;
                        if (flags & BIAS) value += bias_N[n0 + n + i];
                        if (flags & ACCUMULATE) value += *y;
                        *y = value;
                    }
                }
            }
        }
    }
}
