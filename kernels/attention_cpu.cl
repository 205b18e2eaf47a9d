// out[t, h] = softmax over s of (q[t, h] . k[s, g] * scale) times v[s, g], g = h / (H / G); CPU family, many new tokens.
// Token t at position p sees positions s <= p, and only s > p - window when window > 0.
// With SOFTCAP a score s becomes softcap * tanh(s / softcap).
//
// q_THK         float32 in   [T, H, K]
// k_cache       float16 in   [blocks, G, K, BLOCK]; or Q8_0, as cached_lanes.cl has it
// v_cache       float16 in   [blocks, G, K / PANEL, BLOCK, PANEL]; likewise
// block_tables  int32 in     [sequences, table_stride]: the physical blocks of each sequence in order of position
// tiles         int32 in     [tiles, 5]: first token in the batch, its position, sequence, first row, number of rows;
//                            row r of a sequence's H / G query heads a token: token r / (H / G), head r % (H / G)
// out_THK       float32 out  [T, H, K]; may not be q
// Global size (tiles, G), local size (1, 1). Accumulators: float32. Scores are in units of log 2.
// The rows of a tile, which share a key head, meet STEP blocks of keys and values at a time, widened once. Scores of
// GROUP rows are made in registers, and the running softmax (Milakov and Gimelshein, 2018) rescales the sums of values.

#ifndef K
#define K 64 // head width
#endif
#ifndef PANEL
#define PANEL 32 // elements of a value that lie together; a divisor of K
#endif
#ifndef BLOCK
#define BLOCK 32 // positions in a block of the cache; 32
#endif
#ifndef ROWS
#define ROWS 64 // most rows of a tile; a multiple of 8
#endif
#ifndef STEP
#define STEP 2 // blocks that are widened together
#endif

#ifndef CACHE_Q8_0
#define CACHE_Q8_0 0 // 1: the cache holds Q8_0
#endif

#define SCORE_UNIT M_LOG2E_F
#include "cached_lanes.cl"
#include "capped.cl"

#define WIDTH ((K + 15) / 16) // vectors of a head
#define GROUP 8               // rows in registers together
#if WIDTH % 2 == 0
#define VECTORS 2 // vectors of values in registers together
#else
#define VECTORS 1
#endif

__kernel void attention(__global const float *q_THK, __global const Cached *k_cache, __global const Cached *v_cache,
                        __global const int *block_tables, __global const int *tiles, __global float *out_THK,
                        uint H, uint G, uint table_stride, uint window, float scale, float softcap) {
    __global const int *tile = tiles + get_global_id(0) * 5;
    uint g = get_global_id(1), heads = H / G;
    uint token = tile[0], position = tile[1], row0 = tile[3], rows = tile[4];
    __global const int *table = block_tables + (ulong)tile[2] * table_stride;
    float q[ROWS / GROUP][K * GROUP];
    float16 sums[ROWS][WIDTH];
    float16 keys[STEP][K][2];
    float16 values[STEP * BLOCK][WIDTH];
    float16 scores[GROUP][2 * STEP];
    float16 total[ROWS];
    float highest[ROWS];

    for (uint r = 0; r < (rows + GROUP - 1) / GROUP * GROUP; r++) {
        // Rows past the end repeat the last one; their sums are not stored.
        uint row = row0 + min(r, rows - 1);
        __global const float *source = q_THK + ((ulong)(token + row / heads) * H + g * heads + row % heads) * K;
        for (uint k = 0; k < K; k++) q[r / GROUP][k * GROUP + r % GROUP] = source[k] * QUERY_FACTOR;
        for (uint j = 0; j < WIDTH; j++) sums[r][j] = 0.0f;
        total[r] = 0.0f;
        highest[r] = -FLT_MAX;
    }

    uint first = position + row0 / heads, last = position + (row0 + rows - 1) / heads;
    uint begin = window > 0 ? max((int)(first + 1) - (int)window, 0) : 0;
    for (uint block = begin / BLOCK; block <= last / BLOCK; block += STEP) {
        uint blocks = min((uint)STEP, last / BLOCK + 1 - block);
        uint s0 = block * BLOCK, count = min(blocks * BLOCK, last + 1 - s0);
        for (uint b = 0; b < blocks; b++) {
            ulong unit = ((ulong)table[block + b] * G + g) * UNIT;
            for (uint k0 = 0; k0 < K; k0 += SCALED) {
                float16 lo = keys_scale(k_cache + unit, k0, 0), hi = keys_scale(k_cache + unit, k0, 1);
                for (uint k = k0; k < min(k0 + SCALED, (uint)K); k++) {
                    keys[b][k][0] = load_keys(k_cache + unit, k, 0, lo);
                    keys[b][k][1] = load_keys(k_cache + unit, k, 1, hi);
                }
            }
            // Values past the end were never written and may be NaN.
            for (uint s = b * BLOCK; s < min(count, (b + 1) * BLOCK); s++) {
                for (uint j = 0; j < WIDTH; j++) values[s][j] = load_value(v_cache + unit, s % BLOCK, 16 * j);
            }
        }

        for (uint r = 0; r < rows; r += GROUP) {
            // What the group's rows see of this step: the oldest row the least, the newest the most.
            uint oldest_p = position + (row0 + r) / heads;
            uint newest_p = position + (row0 + min(r + GROUP, rows) - 1) / heads;
            if (newest_p < s0 || (window > 0 && s0 + count + window <= oldest_p + 1)) continue;
            uint seen = min(count, newest_p + 1 - s0);
            uint vectors = (seen + BLOCK - 1) / BLOCK * 2;
            bool masked = s0 + vectors * 16 > oldest_p + 1 || (window > 0 && s0 + window <= newest_p);
            float16 top[GROUP];
#pragma unroll
            for (uint i = 0; i < GROUP; i++) top[i] = -FLT_MAX;
            for (uint b = 0; b < vectors / 2; b++) {
                float16 lo[GROUP], hi[GROUP];
#pragma unroll
                for (uint i = 0; i < GROUP; i++) lo[i] = hi[i] = 0.0f;
                for (uint k = 0; k < K; k++) {
                    float16 x = keys[b][k][0], y = keys[b][k][1];
#pragma unroll
                    for (uint i = 0; i < GROUP; i++) {
                        float16 qk = (float16)(q[r / GROUP][k * GROUP + i]);
                        lo[i] = MULTIPLY_ADD(qk, x, lo[i]);
                        hi[i] = MULTIPLY_ADD(qk, y, hi[i]);
                    }
                }
#pragma unroll
                for (uint i = 0; i < GROUP; i++) {
                    lo[i] = CAPPED(lo[i]);
                    hi[i] = CAPPED(hi[i]);
                }
                if (masked) {
                    int16 s_lo = IOTA16 + (int)(s0 + b * BLOCK), s_hi = s_lo + 16;
                    float16 hidden = -INFINITY;
#pragma unroll
                    for (uint i = 0; i < GROUP; i++) {
                        int p = position + (row0 + r + i) / heads, oldest = window > 0 ? p - (int)window : -1;
                        lo[i] = select(hidden, lo[i], s_lo <= p && s_lo > oldest);
                        hi[i] = select(hidden, hi[i], s_hi <= p && s_hi > oldest);
                    }
                }
#pragma unroll
                for (uint i = 0; i < GROUP; i++) {
                    scores[i][2 * b] = lo[i];
                    scores[i][2 * b + 1] = hi[i];
                    top[i] = LARGER(LARGER(lo[i], hi[i]), top[i]);
                }
            }
            float rescale[GROUP];
            for (uint i = 0; i < GROUP; i++) {
                float higher = fmax(highest[r + i], max16(top[i]));
                rescale[i] = exp2(highest[r + i] - higher);
                highest[r + i] = higher;
                float16 sum = total[r + i] * rescale[i];
                for (uint j = 0; j < vectors; j++) {
                    float16 weight = exp2_negative(scores[i][j] - higher);
                    scores[i][j] = weight;
                    sum += weight;
                }
                total[r + i] = sum;
            }
            const float *weights = (const float *)scores[0];
            for (uint j0 = 0; j0 < WIDTH; j0 += VECTORS) {
                float16 sum[GROUP][VECTORS];
#pragma unroll
                for (uint i = 0; i < GROUP; i++) {
#pragma unroll
                    for (uint j = 0; j < VECTORS; j++) sum[i][j] = sums[r + i][j0 + j] * rescale[i];
                }
                for (uint s = 0; s < seen; s++) {
                    float16 v[VECTORS];
#pragma unroll
                    for (uint j = 0; j < VECTORS; j++) v[j] = values[s][j0 + j];
#pragma unroll
                    for (uint i = 0; i < GROUP; i++) {
                        float16 weight = (float16)(weights[i * (STEP * BLOCK) + s]);
#pragma unroll
                        for (uint j = 0; j < VECTORS; j++) sum[i][j] = MULTIPLY_ADD(weight, v[j], sum[i][j]);
                    }
                }
#pragma unroll
                for (uint i = 0; i < GROUP; i++) {
#pragma unroll
                    for (uint j = 0; j < VECTORS; j++) sums[r + i][j0 + j] = sum[i][j];
                }
            }
        }
    }
    for (uint r = 0; r < rows; r++) {
        uint row = row0 + r;
        __global float *out = out_THK + ((ulong)(token + row / heads) * H + g * heads + row % heads) * K;
        float factor = 1.0f / sum16(total[r]);
        for (uint j = 0; j < WIDTH; j++) store16_float(sums[r][j] * factor, out + 16 * j, K - 16 * j);
    }
}
