// Up to three products of the same few rows t, CPU family, or the hidden layer of a gated network:
// GATED 0: y[t, n] = (accumulate ? y[t, n] : 0) + bias[n] + sum over d of h[t, d] * w[n, d] for each of the matrices
// GATED 1: y0[t, n] = ACTIVATION(gate) * up, as activation.cl has it, gate and up such sums of the first matrix and the second
// with h[t, d] = x[t, d], or its RMS norm x[t, d] / sqrt(mean over d of x[t, d]^2 + eps) * norm[d] when flags & 4.
//
// Of each matrix, one that is not there having N = 0:
//   w_ND    float16 in   [N, D], row n at w + offset + n * stride (elements)
//   bias_N  float32 in   row n of w at first + n, read when flags & 2
//   y_TN    float32 out  [T, y_stride], row n of w in column first + n; added to when flags & 1; GATED: y0 alone
// x_TD    float32 in   [T, D], row t at x + t * D; T <= TILE_T
// norm_D  float32 in   [D], read when flags & 4
// Global size (sum over the matrices, GATED: over the first, of ceil(N / (STREAMS * rows_per_stream))), with half the
// streams when GATED; local size (1). Accumulator: float32 in 16 lanes.
// A work-item reads STREAMS pieces of a matrix side by side, rows_per_stream rows each from front to back, once, against
// all rows of x: a core reaches more of the memory's bandwidth with eight streams than with one, and with each of them
// asked for AHEAD of its use, past the end of a row, too: the next one follows.

#include "activation.cl"
#include "float16.cl"

#ifndef STREAMS
#define STREAMS 8 // pieces of the weights that are read at once; even
#endif
#ifndef AHEAD
#define AHEAD 384 // halves
#endif
#ifndef TILE_T
#define TILE_T 1 // most rows of x
#endif
#ifndef GATED
#define GATED 0
#endif

#define ACCUMULATE 1
#define BIAS 2
#define NORM 4
#define PIECES (GATED ? STREAMS / 2 : STREAMS)

__kernel void matmul_gemv(__global const half *w0_ND, ulong offset0, ulong stride0, __global const float *bias0_N,
                          __global float *y0_TN, ulong y_stride0, uint first0, uint N0,
                          __global const half *w1_ND, ulong offset1, ulong stride1, __global const float *bias1_N,
                          __global float *y1_TN, ulong y_stride1, uint first1, uint N1,
                          __global const half *w2_ND, ulong offset2, ulong stride2, __global const float *bias2_N,
                          __global float *y2_TN, ulong y_stride2, uint first2, uint N2,
                          __global const float *x_TD, __global const float *norm_D, float eps,
                          uint T, uint D, uint rows_per_stream, uint flags) {
    uint item = get_global_id(0), rows_per_item = PIECES * rows_per_stream;
    __global const half *w_ND = w0_ND + offset0;
    __global const float *bias_N = bias0_N + first0;
    __global float *y_TN = y0_TN + first0;
    ulong stride = stride0, y_stride = y_stride0;
    uint N = N0;
#if !GATED
    uint items0 = (N0 + rows_per_item - 1) / rows_per_item, items1 = (N1 + rows_per_item - 1) / rows_per_item;
    if (item >= items0 + items1) {
        item -= items0 + items1;
        w_ND = w2_ND + offset2, bias_N = bias2_N + first2, y_TN = y2_TN + first2;
        stride = stride2, y_stride = y_stride2, N = N2;
    } else if (item >= items0) {
        item -= items0;
        w_ND = w1_ND + offset1, bias_N = bias1_N + first1, y_TN = y1_TN + first1;
        stride = stride1, y_stride = y_stride1, N = N1;
    }
#endif
    uint n0 = item * rows_per_item;
    __global const float *x[TILE_T];
    float scale[TILE_T];
#pragma unroll
    for (uint t = 0; t < TILE_T; t++) {
        x[t] = x_TD + (ulong)min(t, T - 1) * D;
        scale[t] = 1.0f;
        if (flags & NORM) {
            float16 squares = 0.0f;
            for (uint d = 0; d < D; d += 16) {
                float16 v = load16_float(x[t] + d, D - d);
                squares = MULTIPLY_ADD(v, v, squares);
            }
            scale[t] = 1.0f / sqrt(sum16(squares) / D + eps);
        }
    }
    for (uint r = 0; r < rows_per_stream && n0 + r < N; r++) {
        __global const half *w[STREAMS];
        float16 sums[TILE_T][STREAMS];
        // Rows past the end repeat the last one; their sums are not stored.
#pragma unroll
        for (uint i = 0; i < STREAMS; i++) {
            ulong n = min(n0 + i % PIECES * rows_per_stream + r, N - 1);
            w[i] = i < PIECES ? w_ND + n * stride : w1_ND + offset1 + n * stride1;
        }
#pragma unroll
        for (uint t = 0; t < TILE_T; t++) {
#pragma unroll
            for (uint i = 0; i < STREAMS; i++) sums[t][i] = 0.0f;
        }
        uint d = 0;
        for (; d + 32 <= D; d += 32) {
#pragma unroll
            for (uint i = 0; i < STREAMS; i++) PREFETCH(w[i] + d + AHEAD);
#pragma unroll
            for (uint e = 0; e < 32; e += 16) {
                float16 v[STREAMS];
#pragma unroll
                for (uint i = 0; i < STREAMS; i++) v[i] = vload_half16(0, w[i] + d + e);
#pragma unroll
                for (uint t = 0; t < TILE_T; t++) {
                    float16 u = vload16(0, x[t] + d + e);
                    if (flags & NORM) u *= vload16(0, norm_D + d + e);
#pragma unroll
                    for (uint i = 0; i < STREAMS; i++) sums[t][i] = MULTIPLY_ADD(v[i], u, sums[t][i]);
                }
            }
        }
        for (; d < D; d += 16) {
#pragma unroll
            for (uint t = 0; t < TILE_T; t++) {
                float16 u = load16_float(x[t] + d, D - d);
                if (flags & NORM) u *= load16_float(norm_D + d, D - d);
#pragma unroll
                for (uint i = 0; i < STREAMS; i++) sums[t][i] = MULTIPLY_ADD(load16_half(w[i] + d, D - d), u, sums[t][i]);
            }
        }
#pragma unroll
        for (uint t = 0; t < TILE_T; t++) {
#pragma unroll
            for (uint i = 0; i < PIECES; i++) {
                uint n = n0 + i * rows_per_stream + r;
                float value = sum16(sums[t][i]) * scale[t];
#if GATED
                float up = sum16(sums[t][i + PIECES]) * scale[t];
#endif
                if (t >= T || n >= N) continue;
                if (flags & BIAS) value += bias_N[n];
                __global float *y = y_TN + (ulong)t * y_stride + n;
#if GATED
                if (flags & BIAS) up += bias1_N[first1 + n];
                value = ACTIVATION(value) * up;
#endif
                if (flags & ACCUMULATE) value += *y;
                *y = value;
            }
        }
    }
}
