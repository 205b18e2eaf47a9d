// out[t, h] = softmax over s of (q[t, h] . k[s, g] * scale) times v[s, g], g = h / (H / G); CPU family, few new tokens.
// Token t at position p sees positions s <= p, and only s > p - window when window > 0. With SOFTCAP a score s becomes
// softcap * tanh(s / softcap). An item has up to ROWS queries that share a key head, and their context or a chunk of it;
// attention_merge_cpu.cl joins the chunks.
//
// q_THK         float32 in   [T, H, K]
// k_cache       float16 in   [blocks, G, K, BLOCK]; or Q8_0, as cached_lanes.cl has it
// v_cache       float16 in   [blocks, G, K / PANEL, BLOCK, PANEL]; likewise
// block_tables  int32 in     [sequences, table_stride]: the physical blocks of each sequence in order of position
// items         int32 in     [items, 9]: first token in the batch, its position, sequence, first row, number of rows,
//                            first position (a multiple of BLOCK), end position, partial, partials a token;
//                            row r of a sequence's H / G query heads a token: token r / (H / G), head r % (H / G);
//                            partial: that of the first token, -1 where the item is the sequence's only chunk
// out_THK       float32 out  [T, H, K]; may not be q; rows of items without partials
// partials      float32 out  [partials, H, K + 2]: sum of 2^(score - highest) v, highest, sum of 2^(score - highest)
// Global size (items, G), local size (1, 1). Accumulators: float32. Scores are in units of log 2.
// Each block of keys or values is widened once for all rows. All scores of SPAN blocks are made before their values are
// read: the running softmax (Milakov and Gimelshein, 2018) rescales seldom. What the window hides at a chunk's start is
// not read.

#ifndef K
#define K 64 // head width
#endif
#ifndef PANEL
#define PANEL 32 // elements of a value that lie together; a divisor of K
#endif
#ifndef BLOCK
#define BLOCK 32 // positions in a block of the cache; 32
#endif
#ifndef SPAN
#define SPAN 16 // blocks whose scores are held together
#endif
#ifndef ROWS
#define ROWS 8 // most rows of an item
#endif

#ifndef CACHE_Q8_0
#define CACHE_Q8_0 0 // 1: the cache holds Q8_0
#endif

#define SCORE_UNIT M_LOG2E_F
#include "cached_lanes.cl"
#include "capped.cl"

#define WIDTH ((K + 15) / 16) // vectors of a head
#if ROWS <= 4 && WIDTH % 4 == 0
#define VECTORS 4 // vectors of values in registers together
#elif ROWS <= 8 && WIDTH % 2 == 0
#define VECTORS 2
#else
#define VECTORS 1
#endif

__kernel void attention_decode(__global const float *q_THK, __global const Cached *k_cache, __global const Cached *v_cache,
                               __global const int *block_tables, __global const int *items, __global float *out_THK,
                               __global float *partials, uint H, uint G, uint table_stride, uint window, float scale,
                               float softcap) {
    __global const int *item = items + get_global_id(0) * 9;
    uint g = get_global_id(1), heads = H / G;
    uint token = item[0], position = item[1], row0 = item[3], rows = item[4], begin = item[5], end = item[6];
    uint oldest_p = position + row0 / heads, newest_p = position + (row0 + rows - 1) / heads;
    if (window > 0 && end + window <= oldest_p + 1) {
        // No row sees any of it; the merge passes over a total of zero.
        for (uint i = 0; i < rows; i++) {
            uint row = row0 + i, h = g * heads + row % heads;
            __global float *out = partials + ((ulong)(item[7] + row / heads * item[8]) * H + h) * (K + 2);
            out[K] = -FLT_MAX;
            out[K + 1] = 0.0f;
        }
        return;
    }
    if (window > 0) begin = max((int)begin, (int)(oldest_p + 1) - (int)window) / BLOCK * BLOCK;
    __global const int *table = block_tables + (ulong)item[2] * table_stride + begin / BLOCK;
    uint blocks = (end - begin + BLOCK - 1) / BLOCK;
    ulong head = (ulong)g * UNIT, stride = (ulong)G * UNIT;
    float q[K * ROWS];
    float16 scores[ROWS][2 * SPAN];
    float16 sums[ROWS][WIDTH];
    float highest[ROWS], total[ROWS];

    for (uint i = 0; i < ROWS; i++) {
        // Rows past the end repeat the last one; their sums are not stored.
        uint row = row0 + min(i, rows - 1);
        __global const float *source = q_THK + ((ulong)(token + row / heads) * H + g * heads + row % heads) * K;
        for (uint k = 0; k < K; k++) q[k * ROWS + i] = source[k] * QUERY_FACTOR;
        for (uint j = 0; j < WIDTH; j++) sums[i][j] = 0.0f;
        highest[i] = -FLT_MAX;
        total[i] = 0.0f;
    }

    for (uint block0 = 0; block0 < blocks; block0 += SPAN) {
        uint span = min(blocks - block0, (uint)SPAN);
        float16 top[ROWS];
        for (uint i = 0; i < ROWS; i++) top[i] = -FLT_MAX;
        for (uint b = 0; b < span; b++) {
            uint block = block0 + b;
            __global const Cached *keys = k_cache + table[block] * stride + head;
            __global const Cached *next =
                b + 1 < span ? k_cache + table[block + 1] * stride + head : v_cache + table[block0] * stride + head;
            float16 lo[ROWS], hi[ROWS];
#pragma unroll
            for (uint i = 0; i < ROWS; i++) lo[i] = hi[i] = 0.0f;
            for (uint k0 = 0; k0 < K; k0 += SCALED) {
                float16 scale_lo = keys_scale(keys, k0, 0), scale_hi = keys_scale(keys, k0, 1);
                for (uint k = k0; k < min(k0 + SCALED, (uint)K); k++) {
                    float16 a = load_keys(keys, k, 0, scale_lo), c = load_keys(keys, k, 1, scale_hi);
                    PREFETCH(next + k * BLOCK);
#pragma unroll
                    for (uint i = 0; i < ROWS; i++) {
                        float16 qk = (float16)(q[k * ROWS + i]);
                        lo[i] = MULTIPLY_ADD(qk, a, lo[i]);
                        hi[i] = MULTIPLY_ADD(qk, c, hi[i]);
                    }
                }
            }
#pragma unroll
            for (uint i = 0; i < ROWS; i++) {
                lo[i] = CAPPED(lo[i]);
                hi[i] = CAPPED(hi[i]);
            }
            uint s0 = begin + block * BLOCK;
            if (s0 + BLOCK > oldest_p + 1 || (window > 0 && s0 + window <= newest_p)) {
                int16 s_lo = IOTA16 + (int)s0, s_hi = s_lo + 16;
                float16 hidden = -INFINITY;
#pragma unroll
                for (uint i = 0; i < ROWS; i++) {
                    int p = position + (row0 + i) / heads, oldest = window > 0 ? p - (int)window : -1;
                    lo[i] = select(hidden, lo[i], s_lo <= p && s_lo > oldest);
                    hi[i] = select(hidden, hi[i], s_hi <= p && s_hi > oldest);
                }
            }
#pragma unroll
            for (uint i = 0; i < ROWS; i++) {
                scores[i][2 * b] = lo[i];
                scores[i][2 * b + 1] = hi[i];
                top[i] = LARGER(LARGER(lo[i], hi[i]), top[i]);
            }
        }

        for (uint i = 0; i < ROWS; i++) {
            float higher = fmax(highest[i], max16(top[i]));
            float rescale = exp2(highest[i] - higher);
            highest[i] = higher;
            float16 sum = 0.0f;
            for (uint j = 0; j < 2 * span; j++) {
                float16 weight = exp2_negative(scores[i][j] - higher);
                scores[i][j] = weight;
                sum += weight;
            }
            total[i] = MULTIPLY_ADD(total[i], rescale, sum16(sum));
            for (uint j = 0; j < WIDTH; j++) sums[i][j] *= rescale;
        }

        for (uint b = 0; b < span; b++) {
            uint block = block0 + b, following = min(block + 1, blocks - 1);
            __global const Cached *values = v_cache + table[block] * stride + head;
            __global const Cached *next = (b + 1 < span ? v_cache : k_cache) + table[following] * stride + head;
            const float *weights = (const float *)scores[0] + b * BLOCK;
            // Values past the end were never written and may be NaN.
            uint count = min((uint)BLOCK, end - begin - block * BLOCK);
            for (uint j0 = 0; j0 < WIDTH; j0 += VECTORS) {
                float16 sum[ROWS][VECTORS];
#pragma unroll
                for (uint i = 0; i < ROWS; i++) {
#pragma unroll
                    for (uint j = 0; j < VECTORS; j++) sum[i][j] = sums[i][j0 + j];
                }
                for (uint s = 0; s < count; s++) {
                    float16 v[VECTORS];
#pragma unroll
                    for (uint j = 0; j < VECTORS; j++) {
                        uint k = (j0 + j) * 16;
                        v[j] = load_value(values, s, k);
                        if (j % 2 == 0) PREFETCH(next + VALUE_AT(s, k));
                    }
#pragma unroll
                    for (uint i = 0; i < ROWS; i++) {
                        float16 weight = (float16)(weights[i * (SPAN * BLOCK) + s]);
#pragma unroll
                        for (uint j = 0; j < VECTORS; j++) sum[i][j] = MULTIPLY_ADD(weight, v[j], sum[i][j]);
                    }
                }
#pragma unroll
                for (uint i = 0; i < ROWS; i++) {
#pragma unroll
                    for (uint j = 0; j < VECTORS; j++) sums[i][j0 + j] = sum[i][j];
                }
            }
        }
    }

    for (uint i = 0; i < rows; i++) {
        uint row = row0 + i, h = g * heads + row % heads;
        __global float *out = out_THK + ((ulong)(token + row / heads) * H + h) * K;
        float factor = 1.0f / total[i];
        if (item[7] >= 0) {
            out = partials + ((ulong)(item[7] + row / heads * item[8]) * H + h) * (K + 2);
            out[K] = highest[i];
            out[K + 1] = total[i];
            factor = 1.0f;
        }
        for (uint j = 0; j < WIDTH; j++) store16_float(sums[i][j] * factor, out + 16 * j, K - 16 * j);
    }
}
