// y[t, n] = (accumulate ? y[t, n] : 0) + bias[n] + sum over d of x[t, d] * w[n, d]; many rows t, quantised w, CPU family.
//
// w_ND    blocks in    [N, D], FORMAT, in the order of block_lanes.cl: the 16 rows from row n on, a multiple of 16, at
//                      w + w_offset + n * w_stride (bytes); the last group is whole
// x_TPR   uint32 in    [T, D / 32, 20], records of block_columns.cl: x rounded to 16 bits
// bias_N  float32 in   row n of w at first + n, read when flags & 2
// y_TN    float32 out  [T, y_stride], row n of w in column first + n; added to when flags & 1
// Global size (ceil(N / 32), ceil(T / TOKENS)), local size (1, 1).
// Accumulator: int32 within 32 columns (or 16, where a scale is that of 16), then float32. The lanes of a vector are rows of
// w. A work-item has two groups of 16 rows; 256 columns of them at a time become pairs of 16 bits, which then meet six
// rows of x after six: two loads of w and six broadcasts of x for twelve products of pairs.

#ifndef FORMAT
#define FORMAT Q4_0
#endif

#include "block_lanes.cl"
#include "block_columns.cl"

#ifndef TOKENS
#define TOKENS 192 // most rows of x of a work-item; a multiple of TILE_T
#endif

#define GROUPS 2 // of 16 rows of w
#define TILE_T 6 // rows of x
#define COLUMNS 256 // that are decoded together
#define ACCUMULATE 1
#define BIAS 2
#define EXPLICIT_VECTORS __attribute__((vec_type_hint(float16)))

EXPLICIT_VECTORS
__kernel void matmul_blocks_gemm(__global const uchar *w_ND, ulong w_offset, ulong w_stride,
                                 __global const uint *x_TPR, __global const float *bias_N,
                                 __global float *y_TN, ulong y_stride, uint first, uint T, uint N, uint D, uint flags) {
    uint n0 = get_global_id(0) * 16 * GROUPS, t_begin = get_global_id(1) * TOKENS, t_end = min(t_begin + TOKENS, T);
    uint numbers[COLUMNS / 32 * 16 * GROUPS * 16] __attribute__((aligned(64))); // [part, pair, group, row]
    float scales[COLUMNS / 32 * HALVES * GROUPS * 16] __attribute__((aligned(64)));
    float minima[COLUMNS / 32 * HALVES * GROUPS * 16] __attribute__((aligned(64)));
    float sums[TOKENS * GROUPS * 16] __attribute__((aligned(64)));
    w_ND += w_offset;
    for (uint d0 = 0; d0 < D; d0 += COLUMNS) {
        uint parts = min((uint)COLUMNS, D - d0) / 32;
        for (uint g = 0; g < GROUPS; g++) {
            // A group past the end is the last one once more; its sums are not stored.
            ulong n = min(n0 + g * 16, (N - 1) / 16 * 16);
            for (uint p = 0; p < parts; p++) {
                uint part = d0 / 32 + p;
                uint16 q[16];
                float16 scale[HALVES], minimum[HALVES];
                decode_part(w_ND + n * w_stride + (ulong)(part / PARTS) * (16 * BLOCK_BYTES), part % PARTS, q, scale, minimum);
#pragma unroll
                for (uint i = 0; i < 16; i++) vstore16(q[i], (p * 16 + i) * GROUPS + g, numbers);
#pragma unroll
                for (uint h = 0; h < HALVES; h++) {
                    vstore16(scale[h], (p * HALVES + h) * GROUPS + g, scales);
#if HAS_MINIMUM
                    vstore16(minimum[h], (p * HALVES + h) * GROUPS + g, minima);
#endif
                }
            }
        }
        for (uint t = t_begin; t < t_end; t += TILE_T) {
            float16 a[TILE_T][GROUPS];
            float *tile = sums + (t - t_begin) * GROUPS * 16;
            __global const uint *x[TILE_T];
#pragma unroll
            for (uint m = 0; m < TILE_T; m++) {
                x[m] = x_TPR + ((ulong)min(t + m, T - 1) * (D / 32) + d0 / 32) * RECORD;
#pragma unroll
                for (uint g = 0; g < GROUPS; g++) a[m][g] = d0 == 0 ? (float16)(0.0f) : vload16(m * GROUPS + g, tile);
            }
            for (uint p = 0; p < parts; p++) {
                uint at = p * RECORD;
#pragma unroll
                for (uint h = 0; h < HALVES; h++) {
                    int16 c[TILE_T][GROUPS];
#pragma unroll
                    for (uint m = 0; m < TILE_T; m++) {
#pragma unroll
                        for (uint g = 0; g < GROUPS; g++) c[m][g] = 0;
                    }
                    // Unrolled, sums would wait for each other.
#pragma unroll 1
                    for (uint i = h * 16 / HALVES; i < (h + 1) * 16 / HALVES; i++) {
                        uint16 w[GROUPS];
#pragma unroll
                        for (uint g = 0; g < GROUPS; g++) w[g] = vload16((p * 16 + i) * GROUPS + g, numbers);
#pragma unroll
                        for (uint m = 0; m < TILE_T; m++) {
#pragma unroll
                            for (uint g = 0; g < GROUPS; g++) c[m][g] = dot_pairs(w[g], x[m][at + i], c[m][g]);
                        }
                    }
#pragma unroll
                    for (uint g = 0; g < GROUPS; g++) {
                        float16 scale = vload16((p * HALVES + h) * GROUPS + g, scales);
#if HAS_MINIMUM
                        float16 minimum = vload16((p * HALVES + h) * GROUPS + g, minima);
#endif
#pragma unroll
                        for (uint m = 0; m < TILE_T; m++) {
                            float16 sum = convert_float16(c[m][g]) * scale;
                            a[m][g] = MULTIPLY_ADD(sum, (float16)(as_float(x[m][at + RECORD_UNIT])), a[m][g]);
#if HAS_MINIMUM
                            a[m][g] = MULTIPLY_ADD(minimum, (float16)(as_float(x[m][at + RECORD_TOTALS(h)])), a[m][g]);
#endif
                        }
                    }
                }
            }
#pragma unroll
            for (uint m = 0; m < TILE_T; m++) {
#pragma unroll
                for (uint g = 0; g < GROUPS; g++) vstore16(a[m][g], m * GROUPS + g, tile);
            }
        }
    }
    for (uint t = t_begin; t < t_end; t++) {
        for (uint g = 0; g < GROUPS && n0 + g * 16 < N; g++) {
            uint n = n0 + g * 16, count = N - n;
            __global float *y = y_TN + (ulong)t * y_stride + first + n;
            float16 value = vload16((t - t_begin) * GROUPS + g, sums);
            if (flags & BIAS) value += load16_float(bias_N + first + n, count);
            if (flags & ACCUMULATE) value += load16_float(y, count);
            store16_float(value, y, count);
        }
    }
}
