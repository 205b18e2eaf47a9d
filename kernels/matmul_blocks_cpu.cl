// Up to three products of the same few rows t with quantised matrices of one format, CPU family:
// y[t, n] = (accumulate ? y[t, n] : 0) + bias[n] + sum over d of x[t, d] * w[n, d]
//
// Of each matrix, one that is not there having N = 0:
//   w_ND    blocks in    [N, D], FORMAT, in the order of block_lanes.cl: group of 16 rows g at w + offset + g * stride
//                        (bytes); the last group is whole
//   bias_N  float32 in   row n of w at first + n, read when flags & 2
//   y_TN    float32 out  [T, y_stride], row n of w in column first + n; added to when flags & 1
// x       uint32 in    [T, D / 32, RECORD], records of block_columns.cl of LEVELS, T <= TILE_T; VNNI: [D / 32, T, X_WORDS],
//                      records of block_dots.cl, T = TILE_T; D a multiple of the blocks' elements
// Global size (sum over the matrices of ceil(N / (16 * groups_per_item))), local size (1); groups_per_item <= STREAMS.
// Accumulator: int32 within 32 columns (16, where a scale is that of 16), then float32; a lane for each row of w.
// A work-item reads STREAMS groups side by side, COLUMNS of each in turn, and asks for them AHEAD of their use.
// VNNI 1: sums are made by products of bytes on AVX-512 VNNI.

#ifndef FORMAT
#define FORMAT Q4_0
#endif

#ifndef VNNI
#define VNNI 0
#endif

#include "block_lanes.cl"
#if VNNI
#include "block_dots.cl"
#else
#include "block_columns.cl"
#endif

#ifndef STREAMS
#define STREAMS 8 // groups of rows that are read at once, at most
#endif
#ifndef TILE_T
#define TILE_T 1 // most rows of x
#endif
#ifndef AHEAD
#define AHEAD 768 // bytes
#endif

#if !VNNI
#define COLUMNS (32 * CYCLE) // of a group before the next one's turn
#define PART_BYTES (16 * BLOCK_BYTES / PARTS)
#endif
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
                            __global const uint *x, uint T, uint D, uint groups_per_item, uint flags) {
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
#if VNNI
    add_dots(w_ND, stride, groups, x, D / (32 * PARTS), sums);
#else
    for (uint d0 = 0; d0 < D; d0 += COLUMNS) {
        uint first_part = d0 / 32 % PARTS;
        for (uint g = 0; g < groups; g++) {
            __global const uchar *block = w_ND + g * stride + (ulong)(d0 / (32 * PARTS)) * (16 * BLOCK_BYTES);
            float16 a[TILE_T];
#pragma unroll
            for (uint t = 0; t < TILE_T; t++) a[t] = vload16(g * TILE_T + t, sums);
#pragma unroll
            for (uint e = 0; e < CYCLE; e++) {
#pragma unroll
                for (uint i = 0; i < PART_BYTES; i += 64)
                    PREFETCH(block + (first_part + e) * PART_BYTES + AHEAD + i);
                uint16 q[16];
                float16 scale[HALVES], minimum[HALVES];
                decode_part(block, first_part + e, q, scale, minimum);
#pragma unroll
                for (uint t = 0; t < TILE_T; t++) {
                    // Plus zero, which the compiler does not know: it would widen x before the loop over groups, and then
                    // not find the instruction that multiplies pairs.
                    __global const uint *record =
                        x + ((ulong)min(t, T - 1) * (D / 32) + d0 / 32 + e) * RECORD + (g >> 31);
#pragma unroll
                    for (uint h = 0; h < HALVES; h++) {
                        int16 even = 0, odd = 0;
#pragma unroll
                        for (uint i = h * 16 / HALVES; i < (h + 1) * 16 / HALVES; i += 2) {
                            even = dot_pairs(q[i], record[i], even);
                            odd = dot_pairs(q[i + 1], record[i + 1], odd);
                        }
                        float16 sum = convert_float16(even + odd);
#if LEVELS == 2
                        even = 0, odd = 0;
#pragma unroll
                        for (uint i = h * 16 / HALVES; i < (h + 1) * 16 / HALVES; i += 2) {
                            even = dot_pairs(q[i], record[RECORD_REST + i], even);
                            odd = dot_pairs(q[i + 1], record[RECORD_REST + i + 1], odd);
                        }
                        sum = MULTIPLY_ADD(convert_float16(even + odd), (float16)(1.0f / 65536.0f), sum);
#endif
                        a[t] = MULTIPLY_ADD(sum, scale[h] * as_float(record[RECORD_UNIT]), a[t]);
#if HAS_MINIMUM
                        a[t] = MULTIPLY_ADD(minimum[h], (float16)(as_float(record[RECORD_TOTALS(h)])), a[t]);
#endif
                    }
                }
            }
#pragma unroll
            for (uint t = 0; t < TILE_T; t++) vstore16(a[t], g * TILE_T + t, sums);
        }
    }
#endif
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
