// Up to three products of the same few rows t with quantised matrices of one format, CPU family:
// y[t, n] = (accumulate ? y[t, n] : 0) + bias[n] + sum over d of x[t, d] * w[n, d]
//
// Of each matrix, one that is not there having N = 0:
//   w_ND    blocks in    [N, D], FORMAT, in the order of block_lanes.cl: group of 16 rows g at w + offset + g * stride
//                        (bytes); the last group is whole
//   bias_N  float32 in   row n of w at first + n, read when flags & 2
//   y_TN    float32 out  [T, y_stride], row n of w in column first + n; added to when flags & 1
// x_TD    float32 in   [T, D], row t at x + t * D; T <= TILE_T; D a multiple of the blocks' elements
// Global size (sum over the matrices of ceil(N / (16 * groups_per_item))), local size (1); groups_per_item <= STREAMS.
// Accumulator: float32, a lane for each row of w. A work-item reads STREAMS groups side by side, 256 columns of each in turn.

#ifndef FORMAT
#define FORMAT Q4_0
#endif

#include "block_lanes.cl"

#ifndef STREAMS
#define STREAMS 8 // groups of rows that are read at once, at most
#endif
#ifndef TILE_T
#define TILE_T 1 // most rows of x
#endif
#ifndef AHEAD
#define AHEAD 1024 // bytes
#endif

#define COLUMNS 256 // that a group gets to before the next one's turn
#define ACCUMULATE 1
#define BIAS 2
#define EXPLICIT_VECTORS __attribute__((vec_type_hint(float16)))

EXPLICIT_VECTORS
__kernel void matmul_blocks(__global const uchar *w0_ND, ulong offset0, ulong stride0, __global const float *bias0_N,
                            __global float *y0_TN, ulong y_stride0, uint first0, uint N0,
                            __global const uchar *w1_ND, ulong offset1, ulong stride1, __global const float *bias1_N,
                            __global float *y1_TN, ulong y_stride1, uint first1, uint N1,
                            __global const uchar *w2_ND, ulong offset2, ulong stride2, __global const float *bias2_N,
                            __global float *y2_TN, ulong y_stride2, uint first2, uint N2,
                            __global const float *x_TD, uint T, uint D, uint groups_per_item, uint flags) {
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
    for (uint d0 = 0; d0 < D; d0 += COLUMNS) {
        uint parts = min((uint)COLUMNS, D - d0) / 32;
        float totals[TILE_T][16]; // of x in each 16 columns
        if (HAS_MINIMUM)
            for (uint t = 0; t < TILE_T; t++)
                for (uint i = 0; i < 2 * parts; i++)
                    totals[t][i] = sum16(vload16(i, x_TD + (ulong)min(t, T - 1) * D + d0));
        for (uint g = 0; g < groups; g++) {
            __global const uchar *block = w_ND + g * stride + (ulong)(d0 / (32 * PARTS)) * (16 * BLOCK_BYTES);
            float16 a[TILE_T];
#pragma unroll
            for (uint t = 0; t < TILE_T; t++) a[t] = vload16(g * TILE_T + t, sums);
            for (uint i = 0; i < (PARTS == 1 ? 8 : 1) * 16 * BLOCK_BYTES; i += 64) PREFETCH(block + AHEAD + i);
            for (uint p0 = 0; p0 < parts; p0 += CYCLE) {
#pragma unroll
                for (uint e = 0; e < CYCLE; e++) {
                    uint16 q[16];
                    float16 scale[HALVES], minimum[HALVES];
                    decode_part(block, p0 + e, q, scale, minimum);
#pragma unroll
                    for (uint t = 0; t < TILE_T; t++) {
                        __global const float *x = x_TD + (ulong)min(t, T - 1) * D + d0 + (p0 + e) * 32;
#pragma unroll
                        for (uint h = 0; h < HALVES; h++) {
                            float16 lo = 0.0f, hi = 0.0f;
#pragma unroll
                            for (uint i = h * 16 / HALVES; i < (h + 1) * 16 / HALVES; i++) {
                                uint d = i / 2 * 4 + i % 2;
                                lo = MULTIPLY_ADD(LOW(q[i]), (float16)(x[d]), lo);
                                hi = MULTIPLY_ADD(HIGH(q[i]), (float16)(x[d + 2]), hi);
                            }
                            a[t] = MULTIPLY_ADD(lo + hi, scale[h], a[t]);
#if HAS_MINIMUM
                            uint i = (p0 + e) * 2 + h;
                            float total = HALVES == 2 ? totals[t][i] : totals[t][i] + totals[t][i + 1];
                            a[t] = MULTIPLY_ADD(minimum[h], (float16)(total), a[t]);
#endif
                        }
                    }
                }
                if (PARTS == 1) block += 16 * BLOCK_BYTES;
            }
#pragma unroll
            for (uint t = 0; t < TILE_T; t++) vstore16(a[t], g * TILE_T + t, sums);
        }
    }
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
