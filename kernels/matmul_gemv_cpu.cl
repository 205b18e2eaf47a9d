// y[t, n] = (accumulate ? y[t, n] : 0) + bias[n] + sum over d of x[t, d] * w[n, d]; a few rows t, CPU family.
//
// w_ND    float16 in   [N, D], row n at w + w_offset + n * w_stride (elements)
// x_TD    float32 in   [T, D], row t at x + t * D; T <= TILE_T
// bias_N  float32 in   row n of w at first + n, read when flags & 2
// y_TN    float32 out  [T, y_stride], row n of w in column first + n; added to when flags & 1
// Global size (ceil(N / TILE_N)), local size (1). Accumulator: float32 in 16 lanes.
// A work-item streams TILE_N rows of w once, 16 weights of each at a time, against all rows of x: bound by memory.

#include "float16.cl"

#ifndef TILE_N
#define TILE_N 4 // rows of w that a work-item streams
#endif
#ifndef TILE_T
#define TILE_T 1 // most rows of x
#endif

#define ACCUMULATE 1
#define BIAS 2

__kernel void matmul_gemv(__global const half *w_ND, ulong w_offset, ulong w_stride,
                          __global const float *x_TD, __global const float *bias_N,
                          __global float *y_TN, ulong y_stride, uint first, uint T, uint N, uint D, uint flags) {
    y_TN += first;
    bias_N += first;
    uint n0 = get_global_id(0) * TILE_N;
    __global const half *w[TILE_N];
    __global const float *x[TILE_T];
    float16 sums[TILE_T][TILE_N];
    // Rows past the end repeat the last one; their sums are not stored.
#pragma unroll
    for (uint i = 0; i < TILE_N; i++) w[i] = w_ND + w_offset + (ulong)min(n0 + i, N - 1) * w_stride;
#pragma unroll
    for (uint t = 0; t < TILE_T; t++) {
        x[t] = x_TD + (ulong)min(t, T - 1) * D;
#pragma unroll
        for (uint i = 0; i < TILE_N; i++) sums[t][i] = 0.0f;
    }
    uint d = 0;
    for (; d + 16 <= D; d += 16) {
        float16 v[TILE_N];
#pragma unroll
        for (uint i = 0; i < TILE_N; i++) v[i] = vload_half16(0, w[i] + d);
#pragma unroll
        for (uint t = 0; t < TILE_T; t++) {
            float16 u = vload16(0, x[t] + d);
#pragma unroll
            for (uint i = 0; i < TILE_N; i++) sums[t][i] = MULTIPLY_ADD(v[i], u, sums[t][i]);
        }
    }
    if (d < D) {
#pragma unroll
        for (uint t = 0; t < TILE_T; t++) {
            float16 u = load16_float(x[t] + d, D - d);
#pragma unroll
            for (uint i = 0; i < TILE_N; i++)
                sums[t][i] = MULTIPLY_ADD(load16_half(w[i] + d, D - d), u, sums[t][i]);
        }
    }
#pragma unroll
    for (uint t = 0; t < TILE_T; t++) {
#pragma unroll
        for (uint i = 0; i < TILE_N; i++) {
            float value = sum16(sums[t][i]);
            if (t >= T || n0 + i >= N) continue;
            __global float *y = y_TN + (ulong)t * y_stride + n0 + i;
            if (flags & BIAS) value += bias_N[n0 + i];
            if (flags & ACCUMULATE) value += *y;
            *y = value;
        }
    }
}
