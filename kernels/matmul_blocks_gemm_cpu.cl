// y[t, n] = (accumulate ? y[t, n] : 0) + bias[n] + sum over d of x[t, d] * w[n, d]; many rows t, quantised w, CPU family.
//
// w_ND    blocks in    [N, D], FORMAT, in the order of block_lanes.cl: the 16 rows from row n on, a multiple of 16, at
//                      w + w_offset + n * w_stride (bytes); the last group is whole
// x_CTPR  uint32 in    [ceil(D / 128), T, 4, 20], records of block_columns.cl: x rounded to 13 bits, a unit for 128 columns;
//                      with VNNI, five rows past the end are read, too
// bias_N  float32 in   row n of w at first + n, read when flags & 2
// y_TN    float32 out  [T, y_stride], row n of w in column first + n; added to when flags & 1
// Global size (ceil(N / (16 * GROUPS)), ceil(T / tokens_per_item)), local size (1, 1); tokens_per_item <= TOKENS.
// Accumulator: int32 within 128 columns, then float32. The lanes of a vector are rows of w. A work-item has GROUPS of 16
// rows; 128 columns of them at a time are rounded to 13 bits of the largest weight that a row could have there, and then
// meet six rows of x after six: four loads of w and six broadcasts of x for 24 products of pairs.

#ifndef FORMAT
#define FORMAT Q4_0
#endif

#include "block_lanes.cl"
#include "block_columns.cl"

#ifndef TOKENS
#define TOKENS 516 // most rows of x of a work-item
#endif
#ifndef GROUPS
#define GROUPS 4 // of 16 rows of w
#endif

#ifndef VNNI
#define VNNI 0 // 1: products by assembly of AVX-512 VNNI
#endif
#if VNNI
#include "pair_dots.cl"
#endif

#define TILE_T 6 // rows of x
#define COLUMNS 128 // that are decoded together
#define CHUNK (COLUMNS / 32)
#define SIZE_MOST 4095 // of a number, 4096 if roundings add up: 128 products of them fit into an int
#define BITS (MOST == 3 ? 2 : MOST == 7 ? 3 : MOST == 15 ? 4 : MOST == 31 ? 5 : MOST == 63 ? 6 : 8) // of a weight's number
#define ACCUMULATE 1
#define BIAS 2
#define EXPLICIT_VECTORS __attribute__((vec_type_hint(float16)))

// The high halves of the products of 32 numbers of 16 bits: one instruction where there is such.
inline short32 high_products(short32 a, short32 b) {
#if defined(__AVX512BW__) && __has_builtin(__builtin_ia32_pmulhw512)
    return __builtin_ia32_pmulhw512(a, b);
#else
    return __builtin_convertvector(__builtin_convertvector(a, int32) * __builtin_convertvector(b, int32) >> 16, short32);
#endif
}

// Sixteen integers, each in both halves of its lane.
inline short32 in_pairs(float16 value) {
    uint16 n = as_uint16(convert_int16_rte(value));
    return __builtin_astype((n & 0xFFFFu) | n << 16, short32);
}

// Numbers [part, pair, group of rows, row] that stand for the weights of group g in parts of a chunk, and their unit.
// Weights are scaled in 16 bits: both the number and its scale are shifted up as far as they stay below 32768 (the scale: 22000).
inline float16 decode_chunk(__global const uchar *w_ND, uint part0, uint parts, uint g, uint *numbers) {
    float16 largest = 0.0f, scale[CHUNK * HALVES], minimum[CHUNK * HALVES];
    for (uint p = 0; p < parts; p++) {
        uint16 q[16];
        uint part = part0 + p;
        __global const uchar *block = w_ND + (ulong)(part / PARTS) * (16 * BLOCK_BYTES);
        decode_part(block, part % PARTS, q, scale + p * HALVES, minimum + p * HALVES);
#pragma unroll
        for (uint h = p * HALVES; h < (p + 1) * HALVES; h++) {
#if HAS_MINIMUM
            largest = fmax(largest, fmax(fabs(minimum[h]), fabs(scale[h] * (float)MOST + minimum[h])));
#else
            largest = fmax(largest, fabs(scale[h]) * (float)-LEAST);
#endif
        }
    }
    float16 per_unit = largest > 0.0f ? SIZE_MOST / largest : (float16)(0.0f);
    for (uint p = 0; p < parts; p++) {
        uint16 q[16];
        float16 unused[HALVES];
        uint part = part0 + p;
        __global const uchar *block = w_ND + (ulong)(part / PARTS) * (16 * BLOCK_BYTES);
        decode_part(block, part % PARTS, q, unused, unused);
#pragma unroll
        for (uint h = 0; h < HALVES; h++) {
            short32 factors = in_pairs(scale[p * HALVES + h] * per_unit * (float)(2 << BITS));
#if HAS_MINIMUM
            // A half more, which products lose on average.
            short32 offsets = in_pairs(MULTIPLY_ADD(minimum[p * HALVES + h], per_unit, (float16)(0.5f)));
#endif
#pragma unroll
            for (uint i = h * 16 / HALVES; i < (h + 1) * 16 / HALVES; i++) {
                short32 n = __builtin_astype(q[i], short32);
#if HAS_MINIMUM
                n = high_products(n << (short)(15 - BITS), factors) + offsets;
#else
                n = (high_products(n << (short)8, factors) + (short)1) >> (short)1; // twice the weight, rounded
#endif
                vstore16(__builtin_astype(n, uint16), (p * 16 + i) * GROUPS + g, numbers);
            }
        }
    }
    return largest * (1.0f / SIZE_MOST);
}

EXPLICIT_VECTORS
__kernel void matmul_blocks_gemm(__global const uchar *w_ND, ulong w_offset, ulong w_stride,
                                 __global const uint *x_CTPR, __global const float *bias_N,
                                 __global float *y_TN, ulong y_stride, uint first, uint T, uint N, uint D, uint tokens_per_item,
                                 uint flags) {
    uint n0 = get_global_id(0) * 16 * GROUPS, t_begin = get_global_id(1) * tokens_per_item;
    uint t_end = min(t_begin + tokens_per_item, T);
    uint numbers[CHUNK * 16 * GROUPS * 16] __attribute__((aligned(64)));
    float sums[(TOKENS + TILE_T) * GROUPS * 16] __attribute__((aligned(64)));
    w_ND += w_offset;
    uint tiles = (t_end - t_begin + TILE_T - 1) / TILE_T;
    for (uint i = 0; i < tiles * TILE_T * GROUPS; i++) vstore16((float16)(0.0f), i, sums);
    for (uint d0 = 0; d0 < D; d0 += COLUMNS) {
        uint parts = min((uint)COLUMNS, D - d0) / 32;
        float unit[GROUPS * 16] __attribute__((aligned(64)));
#pragma unroll
        for (uint g = 0; g < GROUPS; g++) {
            // A group past the end is the last one once more; its sums are not stored.
            ulong n = min(n0 + g * 16, (N - 1) / 16 * 16);
            vstore16(decode_chunk(w_ND + n * w_stride, d0 / 32, parts, g, numbers), g, unit);
        }
#if VNNI
        add_pairs(numbers, unit, x_CTPR + ((ulong)(d0 / COLUMNS) * T + t_begin) * (CHUNK * RECORD), parts, tiles, sums);
#else
        for (uint t = t_begin; t < t_end; t += TILE_T) {
            float *tile = sums + (t - t_begin) * GROUPS * 16;
            __global const uint *x[TILE_T];
            int16 c[TILE_T][GROUPS];
#pragma unroll
            for (uint m = 0; m < TILE_T; m++) {
                x[m] = x_CTPR + ((ulong)(d0 / COLUMNS) * T + min(t + m, T - 1)) * (CHUNK * RECORD);
#pragma unroll
                for (uint g = 0; g < GROUPS; g++) c[m][g] = 0;
            }
            for (uint p = 0; p < parts; p++) {
                // Unrolled, sums would wait for each other.
#pragma unroll 1
                for (uint i = 0; i < 16; i++) {
                    uint16 w[GROUPS];
#pragma unroll
                    for (uint g = 0; g < GROUPS; g++) w[g] = vload16((p * 16 + i) * GROUPS + g, numbers);
#pragma unroll
                    for (uint m = 0; m < TILE_T; m++) {
#pragma unroll
                        for (uint g = 0; g < GROUPS; g++) c[m][g] = dot_pairs(w[g], x[m][p * RECORD + i], c[m][g]);
                    }
                }
            }
#pragma unroll
            for (uint m = 0; m < TILE_T; m++) {
                float unit_of_x = as_float(x[m][RECORD_UNIT]);
#pragma unroll
                for (uint g = 0; g < GROUPS; g++) {
                    float16 sum = vload16(m * GROUPS + g, tile), factor = vload16(g, unit) * unit_of_x;
                    vstore16(MULTIPLY_ADD(convert_float16(c[m][g]), factor, sum), m * GROUPS + g, tile);
                }
            }
        }
#endif
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
