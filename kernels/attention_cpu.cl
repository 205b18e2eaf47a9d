// out[t, h] = softmax over s of (q[t, h] . k[s, g] * scale) times v[s, g], g = h / (H / G); CPU family, prefill and decode.
// Token t at position p sees positions s <= p, and only s > p - window when window > 0.
//
// q_THK         float32 in   [T, H, K]
// k_cache, v_cache  float16 in   [blocks, G, BLOCK, K]
// block_tables  int32 in     [sequences, table_stride]: the physical blocks of each sequence in order of position
// tiles         int32 in     [tiles, 5]: first token in the batch, its position, sequence, first row, number of rows;
//                            row r of a sequence's H / G query heads a token: token r / (H / G), head r % (H / G)
// out_THK       float32 out  [T, H, K]; may not be q
// Global size (tiles, G), local size (1, 1). Accumulators: float32.
// The rows of a tile, which share a key head, meet one block of keys at a time: a block is widened and its keys are
// transposed once, scores of four rows are made in registers, and the running softmax (Milakov and Gimelshein, 2018)
// rescales the sums of values. For one new token the rows are its query heads.

#include "float16.cl"

#ifndef K
#define K 64 // head width
#endif
#ifndef BLOCK
#define BLOCK 32 // positions in a block of the cache; 32
#endif
#ifndef ROWS
#define ROWS 32 // most rows of a tile; a multiple of 4
#endif

#define K_PADDED ((K + 15) / 16 * 16)
#define GROUP_ROWS 4 // rows whose scores are in registers together
#if K_PADDED % 64 == 0
#define VECTORS 4 // vectors of values in registers together
#elif K_PADDED % 32 == 0
#define VECTORS 2
#else
#define VECTORS 1
#endif

__kernel void attention(__global const float *q_THK, __global const half *k_cache, __global const half *v_cache,
                        __global const int *block_tables, __global const int *tiles, __global float *out_THK,
                        uint H, uint G, uint table_stride, uint window, float scale) {
    __global const int *tile = tiles + get_global_id(0) * 5;
    uint g = get_global_id(1), heads = H / G;
    uint token = tile[0], position = tile[1], row0 = tile[3], rows = tile[4];
    __global const int *table = block_tables + (ulong)tile[2] * table_stride;
    float q[ROWS * K_PADDED] __attribute__((aligned(64)));
    float sums[ROWS * K_PADDED] __attribute__((aligned(64)));
    float keys[K_PADDED * BLOCK] __attribute__((aligned(64)));
    float values[BLOCK * K_PADDED] __attribute__((aligned(64)));
    float weights[GROUP_ROWS * BLOCK] __attribute__((aligned(64)));
    float highest[ROWS], total[ROWS];

    for (uint r = 0; r < ROWS; r++) {
        // Rows past the end repeat the last one; their sums are not stored.
        uint row = row0 + min(r, rows - 1);
        __global const float *source = q_THK + ((ulong)(token + row / heads) * H + g * heads + row % heads) * K;
        for (uint k = 0; k < K; k += 16) {
            vstore16(load16_float(source + k, K - k) * scale, 0, q + r * K_PADDED + k);
            vstore16((float16)(0.0f), 0, sums + r * K_PADDED + k);
        }
        highest[r] = -FLT_MAX;
        total[r] = 0.0f;
        if (r % GROUP_ROWS == GROUP_ROWS - 1 && r + 1 >= rows) break;
    }

    uint first = position + row0 / heads, last = position + (row0 + rows - 1) / heads;
    uint begin = window > 0 ? max((int)(first + 1) - (int)window, 0) : 0;
    for (uint block = begin / BLOCK; block <= last / BLOCK; block++) {
        ulong cached = ((ulong)table[block] * G + g) * (BLOCK * K);
        uint count = min((uint)BLOCK, last + 1 - block * BLOCK);
        for (uint s = 0; s < BLOCK; s += 16) {
            // Keys past the end repeat the last one; their scores are masked.
            __global const half *source = k_cache + cached + min(s, count - 1) * K;
            for (uint k = 0; k < K; k += 16)
                transpose16_half(source + k, K, count > s ? count - s : 1, K - k, keys + k * BLOCK + s, BLOCK);
        }
        for (uint s = 0; s < count; s++)
            for (uint k = 0; k < K; k += 16)
                vstore16(load16_half(v_cache + cached + s * K + k, K - k), 0, values + s * K_PADDED + k);

        for (uint r = 0; r < rows; r += GROUP_ROWS) {
            float16 lo[GROUP_ROWS], hi[GROUP_ROWS];
            float rescale[GROUP_ROWS];
#pragma unroll
            for (uint i = 0; i < GROUP_ROWS; i++) lo[i] = hi[i] = 0.0f;
            for (uint k = 0; k < K; k++) {
                float16 a = vload16(0, keys + k * BLOCK), b = vload16(1, keys + k * BLOCK);
#pragma unroll
                for (uint i = 0; i < GROUP_ROWS; i++) {
                    float16 qk = (float16)(q[(r + i) * K_PADDED + k]);
                    lo[i] = MULTIPLY_ADD(qk, a, lo[i]);
                    hi[i] = MULTIPLY_ADD(qk, b, hi[i]);
                }
            }
#pragma unroll
            for (uint i = 0; i < GROUP_ROWS; i++) {
                int p = position + (row0 + r + i) / heads;
                int oldest = window > 0 ? p - (int)window : -1;
                int16 s_lo = IOTA16 + (int)(block * BLOCK), s_hi = s_lo + 16;
                float16 masked = -INFINITY;
                lo[i] = select(masked, lo[i], s_lo <= p && s_lo > oldest);
                hi[i] = select(masked, hi[i], s_hi <= p && s_hi > oldest);
                float top = fmax(highest[r + i], max16(fmax(lo[i], hi[i])));
                lo[i] = exp(lo[i] - top);
                hi[i] = exp(hi[i] - top);
                rescale[i] = exp(highest[r + i] - top);
                highest[r + i] = top;
                total[r + i] = total[r + i] * rescale[i] + sum16(lo[i] + hi[i]);
                vstore16(lo[i], 0, weights + i * BLOCK);
                vstore16(hi[i], 1, weights + i * BLOCK);
            }
            for (uint k = 0; k < K_PADDED; k += 16 * VECTORS) {
                float16 sum[GROUP_ROWS][VECTORS];
#pragma unroll
                for (uint i = 0; i < GROUP_ROWS; i++) {
#pragma unroll
                    for (uint j = 0; j < VECTORS; j++)
                        sum[i][j] = vload16(j, sums + (r + i) * K_PADDED + k) * rescale[i];
                }
                for (uint s = 0; s < count; s++) {
#pragma unroll
                    for (uint j = 0; j < VECTORS; j++) {
                        float16 v = vload16(j, values + s * K_PADDED + k);
#pragma unroll
                        for (uint i = 0; i < GROUP_ROWS; i++)
                            sum[i][j] = MULTIPLY_ADD((float16)(weights[i * BLOCK + s]), v, sum[i][j]);
                    }
                }
#pragma unroll
                for (uint i = 0; i < GROUP_ROWS; i++) {
#pragma unroll
                    for (uint j = 0; j < VECTORS; j++) vstore16(sum[i][j], j, sums + (r + i) * K_PADDED + k);
                }
            }
        }
    }
    for (uint r = 0; r < rows; r++) {
        uint row = row0 + r;
        __global float *out = out_THK + ((ulong)(token + row / heads) * H + g * heads + row % heads) * K;
        for (uint k = 0; k < K; k += 16)
            store16_float(vload16(0, sums + r * K_PADDED + k) / total[r], out + k, K - k);
    }
}
