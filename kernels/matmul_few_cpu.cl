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
// Accumulator: float32 in 16 lanes of the depth. A work-item has ROWS rows of w; each piece of them, TILE_D columns,
// is widened once and meets all rows of x in register tiles of TILE_T x 4. The next piece is prefetched meanwhile.

#include "float16.cl"

#ifndef TILE_T
#define TILE_T 6 // rows of x in a register tile
#endif
#ifndef MAX_T
#define MAX_T 36 // most rows of x; a multiple of TILE_T
#endif
#ifndef TILE_D
#define TILE_D 256 // columns of a piece; a multiple of 32
#endif
#ifndef ROWS
#define ROWS 16 // rows of w of a work-item; a multiple of 4
#endif

#define ACCUMULATE 1
#define BIAS 2

__kernel void pack_few(__global const float *x_TD, __global float *x_CTL, uint T, uint D) {
    uint d = get_global_id(0) * 16;
    for (uint t = 0; t < T; t++)
        vstore16(load16_float(x_TD + (ulong)t * D + d, D - d), 0, x_CTL + ((ulong)get_global_id(0) * T + t) * 16);
}

__kernel void matmul_few(__global const half *w_ND, ulong w_offset, ulong w_stride,
                         __global const float *x_CTL, __global const float *bias_N,
                         __global float *y_TN, ulong y_stride, uint first, uint T, uint N, uint D,
                         uint flags) {
    y_TN += first;
    bias_N += first;
    uint n0 = get_global_id(0) * ROWS, rows = min((uint)ROWS, N - n0);
    float sums[MAX_T * ROWS * 16] __attribute__((aligned(64)));
    float wide[4 * TILE_D] __attribute__((aligned(64)));
    for (uint d0 = 0; d0 < D; d0 += TILE_D) {
        uint end = min(d0 + TILE_D, D), steps = (end - d0 + 15) / 16;
        for (uint n = 0; n < rows; n += 4) {
            // Rows past the end repeat the last one; their sums are not stored.
            __global const half *w[4];
#pragma unroll
            for (uint i = 0; i < 4; i++) w[i] = w_ND + w_offset + (ulong)(n0 + min(n + i, rows - 1)) * w_stride;
            // The same rows' next piece, or the first one of the next item's, in cache lines of 32 halves.
            uint ahead = end < D ? end : 0, line = 0, tiles = (T + TILE_T - 1) / TILE_T;
            __global const half *next = w[0] + (end < D ? 0 : ROWS * w_stride) + ahead;
            for (uint d = 0; d < steps; d++) {
#pragma unroll
                for (uint i = 0; i < 4; i++)
                    vstore16(load16_half(w[i] + d0 + d * 16, D - d0 - d * 16), d * 4 + i, wide);
            }
            for (uint t = 0; t < T; t += TILE_T) {
                for (uint stop = (t / TILE_T + 1) * (4 * TILE_D / 32) / tiles; line < stop; line++)
                    PREFETCH(next + line / (TILE_D / 32) * w_stride + line % (TILE_D / 32) * 32);
                float *tile = sums + (t * ROWS + n * TILE_T) * 16;
                float16 a[TILE_T][4];
                uint at[TILE_T];
#pragma unroll
                for (uint m = 0; m < TILE_T; m++) {
                    at[m] = min(t + m, T - 1) * 16;
#pragma unroll
                    for (uint i = 0; i < 4; i++)
                        a[m][i] = d0 == 0 ? (float16)(0.0f) : vload16(m * 4 + i, tile);
                }
                __global const float *x = x_CTL + (ulong)(d0 / 16) * T * 16;
                for (const float *v = wide, *last = wide + steps * 64; v < last; v += 64, x += T * 16) {
                    float16 wv[4];
#pragma unroll
                    for (uint i = 0; i < 4; i++) wv[i] = vload16(i, v);
#pragma unroll
                    for (uint m = 0; m < TILE_T; m++) {
                        float16 xv = vload16(0, x + at[m]);
#pragma unroll
                        for (uint i = 0; i < 4; i++) a[m][i] = MULTIPLY_ADD(wv[i], xv, a[m][i]);
                    }
                }
                if (end < D) {
#pragma unroll
                    for (uint m = 0; m < TILE_T; m++) {
#pragma unroll
                        for (uint i = 0; i < 4; i++) vstore16(a[m][i], m * 4 + i, tile);
                    }
                    continue;
                }
#pragma unroll
                for (uint m = 0; m < TILE_T; m++) {
#pragma unroll
                    for (uint i = 0; i < 4; i++) {
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
