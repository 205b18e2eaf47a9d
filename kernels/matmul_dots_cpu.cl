// Up to three products of the same few rows t with quantised matrices of one format, CPU family with AVX-512 VNNI:
// y[t, n] = (accumulate ? y[t, n] : 0) + bias[n] + sum over d of x[t, d] * w[n, d]
//
// Of each matrix, one that is not there having N = 0:
//   w_ND    blocks in    [N, D], FORMAT, in the order of block_lanes.cl: group of 16 rows g at w + offset + g * stride
//                        (bytes); the last group is whole
//   bias_N  float32 in   row n of w at first + n, read when flags & 2
//   y_TN    float32 out  [T, y_stride], row n of w in column first + n; added to when flags & 1
// x_PTR   uint32 in    [D / 32, T, X_WORDS], records of block_dots.cl; T = TILE_T; D a multiple of the blocks' elements
// Global size (sum over the matrices of ceil(N / (16 * groups_per_item))), local size (1); groups_per_item <= STREAMS.
// Accumulator: int32 within 32 columns (16, where a scale is that of 16), then float32; a lane for each row of w.

#ifndef STREAMS
#define STREAMS 8
#endif
#include "block_dots.cl"

#define ACCUMULATE 1
#define BIAS 2

__kernel void matmul_dots(__global const uchar *w0_ND, ulong offset0, ulong stride0, __global const float *bias0_N,
                          __global float *y0_TN, ulong y_stride0, uint first0, uint N0,
                          __global const uchar *w1_ND, ulong offset1, ulong stride1, __global const float *bias1_N,
                          __global float *y1_TN, ulong y_stride1, uint first1, uint N1,
                          __global const uchar *w2_ND, ulong offset2, ulong stride2, __global const float *bias2_N,
                          __global float *y2_TN, ulong y_stride2, uint first2, uint N2,
                          __global const uint *x_PTR, uint T, uint D, uint groups_per_item, uint flags) {
    uint item = get_global_id(0), rows_per_item = 16 * groups_per_item;
    __global const uchar *w_ND = w0_ND + offset0;
    __global const float *bias_N = bias0_N + first0;
    __global float *y_TN = y0_TN + first0;
    ulong stride = stride0, y_stride = y_stride0;
    uint N = N0, items0 = (N0 + rows_per_item - 1) / rows_per_item, items1 = (N1 + rows_per_item - 1) / rows_per_item;
    if (item >= items0 + items1) {
        item -= items0 + items1;
        w_ND = w2_ND + offset2, bias_N = bias2_N + first2, y_TN = y2_TN + first2;
        stride = stride2, y_stride = y_stride2, N = N2;
    } else if (item >= items0) {
        item -= items0;
        w_ND = w1_ND + offset1, bias_N = bias1_N + first1, y_TN = y1_TN + first1;
        stride = stride1, y_stride = y_stride1, N = N1;
    }
    uint n0 = item * rows_per_item, groups = min(groups_per_item, (N - n0 + 15) / 16);
    w_ND += n0 / 16 * stride;
    float sums[STREAMS * TILE_T * 16] __attribute__((aligned(64)));
    for (uint i = 0; i < STREAMS * TILE_T; i++) vstore16((float16)(0.0f), i, sums);
    add_dots(w_ND, stride, groups, x_PTR, D / (32 * PARTS), sums);
    for (uint g = 0; g < groups; g++) {
        uint n = n0 + g * 16, count = N - n;
        float16 bias = flags & BIAS ? load16_float(bias_N + n, count) : (float16)(0.0f);
        for (uint t = 0; t < T; t++) {
            __global float *y = y_TN + (ulong)t * y_stride + n;
            float16 value = vload16(g * TILE_T + t, sums) + bias;
            if (flags & ACCUMULATE) value += load16_float(y, count);
            store16_float(value, y, count);
        }
    }
}
