// y[t, n] = (accumulate ? y[t, n] : 0) + bias[n] + sum over d of x[t, d] * w[n, d]; some dozens of rows t, CPU family.
//
// pack_lanes:   x_TD    float32 in   [T, D], row t at x + t * D; T <= TOKENS = 16 * VECTORS
//               x_DL    float32 out  [D_padded, TOKENS], zeros where t or d is past the end; D_padded = 16 * ceil(D / 16)
//               global size (ceil(D / 16)), local size (1)
// matmul_lanes: w_ND    float16 in   [N, D], row n at w + w_offset + n * w_stride (elements)
//               x_DL    float32 in   as packed
//               bias_N  float32 in   row n of w at first + n, read when flags & 2
//               y_TN    float32 out  [T, y_stride], row n of w in column first + n; added to when flags & 1
//               global size (ceil(N / ROWS)), local size (1)
// Accumulator: float32. The lanes of a vector are tokens. A work-item's sums, ROWS rows of w for all tokens, stay in
// registers; its rows are widened a piece at a time, and each weight meets VECTORS vectors of tokens.

#include "float16.cl"

#ifndef VECTORS
#define VECTORS 2 // of tokens: 1 to 4
#endif
#ifndef PIECE
#define PIECE 64 // columns that are widened together; a multiple of 32
#endif

#define TOKENS (16 * VECTORS)
#define ROWS (24 / VECTORS)
#define AHEAD 256 // halves

// Intel's compiler then does not try to make vectors across work-items, which takes it seconds.
#define EXPLICIT_VECTORS __attribute__((vec_type_hint(float16)))

#define ACCUMULATE 1
#define BIAS 2

EXPLICIT_VECTORS
__kernel void pack_lanes(__global const float *x_TD, __global float *x_DL, uint T, uint D) {
    uint d0 = get_global_id(0) * 16;
    __global float *out = x_DL + (ulong)d0 * TOKENS;
    for (uint m = 0; m < TOKENS; m += 16) {
        uint rows = m < T ? T - m : 0;
        __global const float *x = x_TD + (ulong)m * D + d0;
#define LOAD_ROW(i) float16 a##i = i < rows ? load16_float(x + (ulong)i * D, D - d0) : (float16)(0.0f);
        REPEAT16(LOAD_ROW)
        SHUFFLE(a, b) SHUFFLE(b, c) SHUFFLE(c, d) SHUFFLE(d, e)
#define STORE_COLUMN(i) vstore16(e##i, 0, out + i * TOKENS + m);
        REPEAT16(STORE_COLUMN)
    }
}
EXPLICIT_VECTORS
__kernel void matmul_lanes(__global const half *w_ND, ulong w_offset, ulong w_stride,
                         __global const float *x_DL, __global const float *bias_N,
                         __global float *y_TN, ulong y_stride, uint first, uint T, uint N, uint D,
                         uint flags) {
    y_TN += first;
    bias_N += first;
    uint n0 = get_global_id(0) * ROWS, rows = min((uint)ROWS, N - n0);
    float wide[ROWS * PIECE] __attribute__((aligned(64)));
    __global const half *w = w_ND + w_offset + (ulong)n0 * w_stride;
    // Rows past the end repeat the last one; their sums are not stored.
    float16 a[ROWS][VECTORS];
#pragma unroll
    for (uint m = 0; m < ROWS; m++)
#pragma unroll
        for (uint v = 0; v < VECTORS; v++) a[m][v] = 0.0f;
    __global const float *x = x_DL;
    for (uint d0 = 0; d0 < D; d0 += PIECE) {
        uint depth = min((uint)PIECE, D - d0);
        if (depth == PIECE) {
            for (uint m = 0; m < ROWS; m++) {
                __global const half *row = w + min(m, rows - 1) * w_stride + d0;
                for (uint d = 0; d < PIECE; d += 32) PREFETCH(row + AHEAD + d);
                for (uint d = 0; d < PIECE; d += 16) vstore16(vload_half16(0, row + d), 0, wide + m * PIECE + d);
            }
        } else {
            for (uint m = 0; m < ROWS; m++) {
                __global const half *row = w + min(m, rows - 1) * w_stride + d0;
                for (uint d = 0; d < depth; d += 16) vstore16(load16_half(row + d, depth - d), 0, wide + m * PIECE + d);
            }
        }
        for (const float *u = wide, *end = wide + depth; u < end; u++, x += TOKENS) {
            float16 xv[VECTORS];
#pragma unroll
            for (uint v = 0; v < VECTORS; v++) xv[v] = vload16(v, x);
#pragma unroll
            for (uint m = 0; m < ROWS; m++) {
                float16 wm = (float16)(u[m * PIECE]);
#pragma unroll
                for (uint v = 0; v < VECTORS; v++) a[m][v] = MULTIPLY_ADD(wm, xv[v], a[m][v]);
            }
        }
    }
    float sums[ROWS * TOKENS] __attribute__((aligned(64)));
#pragma unroll
    for (uint m = 0; m < ROWS; m++)
#pragma unroll
        for (uint v = 0; v < VECTORS; v++) vstore16(a[m][v], m * VECTORS + v, sums);
    for (uint t = 0; t < T; t++) {
        __global float *y = y_TN + (ulong)t * y_stride + n0;
        for (uint m = 0; m < rows; m++) {
            float value = sums[m * TOKENS + t];
            if (flags & BIAS) value += bias_N[n0 + m];
            if (flags & ACCUMULATE) value += y[m];
            y[m] = value;
        }
    }
}
