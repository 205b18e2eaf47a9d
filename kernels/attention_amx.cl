// out[t, h] = softmax over s of (q[t, h] . k[s, g] * scale) times v[s, g], g = h / (H / G); on Intel AMX, CPU family, many
// new tokens. Token t at position p sees positions s <= p, and only s > p - window when window > 0.
//
// q_THK         float32 in   [T, H, K]
// k_cache       float16 in   [blocks, G, K, BLOCK]
// v_cache       float16 in   [blocks, G, K / 32, BLOCK, 32]
// block_tables  int32 in     [sequences, table_stride]: the physical blocks of each sequence in order of position
// tiles         int32 in     [tiles, 5]: first token in the batch, its position, sequence, first row, number of rows;
//                            row r of a sequence's H / G query heads a token: token r / (H / G), head r % (H / G)
// out_THK       float32 out  [T, H, K]; may not be q
// Global size (tiles, G), local size (1, 1). Accumulators: float32. Scores are in units of log 2.
//
// Queries and keys, and then weights and values, are multiplied as bfloat16 parts (amx.cl says how exact PARTS is). The
// cache's layout suits the unit: two vectors of keys or of values, as they lie there, are a row of pairs in a tile, and so
// are two vectors of scores. A round takes STEP blocks of keys and values, which are converted once for all rows of the
// tile; groups of 32 rows, one after the other, make scores, weights with the running softmax of Milakov and Gimelshein
// (2018), and sums of values.
//
// For 32 rows and a block of keys, K = 64, in cycles of a core with two vector units of 16 float32:
//                               PARTS 1   PARTS 2
//   4 K / 32 steps of the unit      256       768      at 16 cycles a product of tiles
//   softmax, 64 vectors             700       800      23 to 25 operations a vector: exp2 13, splitting 4 to 7
//   sums and their rescaling         60        60      two operations a vector and round
//   conversion                       90       120      of keys and values, shared by the groups of a tile of 256 rows
// Together 1100 and 1750 (all but the unit's part measured half as much again); the same with float32 multiply-adds at
// their peak takes 4096, and its softmax comes on top.

#ifndef PARTS
#define PARTS 2 // bfloat16 numbers that a query and a weight are split into; 1 or 2
#endif
#ifndef K
#define K 64 // head width, a multiple of 32
#endif
#ifndef BLOCK
#define BLOCK 32 // positions in a block of the cache; 32
#endif
#ifndef ROWS
#define ROWS 256 // most rows of a tile; a multiple of 32
#endif
#ifndef STEP
#define STEP 4 // blocks of a round
#endif

#include "amx.cl"
#include "float16.cl"

#define DEPTH (K / 32)                   // steps of a product of queries and keys; panels of values
#define X_STEP (2 * PARTS * TILE / 16)   // vectors of queries or weights in a step
#define W_STEP (2 * W_PARTS * TILE / 16) // vectors of keys or values in a step
#define SUMS (4 * TILE / 16)             // vectors of 32 x 32 sums, two a row

// out = x w for 32 rows and 32 columns: the sum of `steps` steps.
inline void multiply(const uint16 *x, const uint16 *w, uint steps, float16 *out) {
    zero_sums();
    for (uint i = 0; i < steps; i++) MULTIPLY_STEP(x + i * X_STEP, w + i * W_STEP);
    STORE_SUMS(out, out + SUMS / 2, 128);
}

// Queries of 32 rows from `row` of the sequence's on; rows past `last` repeat it.
inline void load_queries(__global const float *q_TGHK, uint row, uint last, uint heads, uint H, float factor, uint16 *out) {
    for (uint r = 0; r < 32; r++) {
        uint own = min(row + r, last);
        __global const float *q = q_TGHK + ((ulong)(own / heads) * H + own % heads) * K;
        for (uint d = 0; d < DEPTH; d++) {
            float16 a = vload16(2 * d, q) * factor, b = vload16(2 * d + 1, q) * factor;
            for (uint part = PARTS; part-- > 0;) out[d * X_STEP + part * 32 + r] = split_pairs(&a, &b);
        }
    }
}

inline void convert_pair(float16 a, float16 b, uint16 *out) {
    out[0] = split_pairs(&a, &b);
    if (W_PARTS > 1) out[32] = as_uint16(a) >> 16 | as_uint16(b); // what is left has three bits: nothing to round
}

inline void convert_keys(__global const half *k, uint16 *out) {
    for (uint d = 0; d < DEPTH; d++) {
        for (uint i = 0; i < 16; i++) {
            __global const half *a = k + (d * 32 + i) * BLOCK, *b = a + 16 * BLOCK;
            for (uint j = 0; j < 2; j++)
                convert_pair(vload_half16(j, a), vload_half16(j, b), out + d * W_STEP + j * 16 + i);
        }
    }
}

// Values from `count` on were never written and may be NaN: they become zeros, for they meet weights of zero.
inline void convert_values(__global const half *v, uint count, uint16 *out) {
    for (uint n = 0; n < DEPTH; n++) {
        for (uint i = 0; i < 16; i++) {
            __global const half *v0 = v + (n * BLOCK + i) * 32, *v16 = v0 + 16 * 32;
            for (uint j = 0; j < 2; j++) {
                float16 a = 0.0f, b = 0.0f;
                if (i < count) a = vload_half16(j, v0);
                if (i + 16 < count) b = vload_half16(j, v16);
                convert_pair(a, b, out + n * STEP * W_STEP + j * 16 + i);
            }
        }
    }
}

// Lane i of a[0] is the largest, or the sum, of the lanes of a[i].
#define LARGEST(a, b) LARGER(a, b)
#define SUM(a, b) ((a) + (b))
#define REDUCE_PAIRS(of, a, n)                                                          \
    _Pragma("unroll") for (uint i = 0; i < n; i++) {                                    \
        float16 lo = interleave_lo(a[i], a[i + n]), hi = interleave_hi(a[i], a[i + n]); \
        a[i] = of(lo, hi);                                                              \
    }
#define REDUCE16(of, a) REDUCE_PAIRS(of, a, 8) REDUCE_PAIRS(of, a, 4) REDUCE_PAIRS(of, a, 2) REDUCE_PAIRS(of, a, 1)

// What some rows see of a round.
typedef struct {
    uint oldest_p, newest_p; // positions of the first and the last of them
    uint s0, blocks;         // the position where the first block that the oldest sees begins; blocks up to the newest's last
} Seen;

// The largest score of each of 16 rows; scores of hidden positions become -INFINITY. `row` is the first one's number among
// the sequence's, `last` the tile's last one's.
inline float16 largest_scores(float16 *scores, Seen seen, uint position, uint row, uint last, uint heads, uint window) {
    float16 top[16];
    for (uint r = 0; r < 16; r++) top[r] = -FLT_MAX;
    for (uint b = 0; b < seen.blocks; b++) {
        float16 *s = scores + b * SUMS;
        uint s0 = seen.s0 + b * BLOCK;
        if (s0 + BLOCK > seen.oldest_p + 1 || (window > 0 && s0 + window <= seen.newest_p)) {
            int16 s_lo = IOTA16 + (int)s0, s_hi = s_lo + 16;
            float16 hidden = -INFINITY;
            for (uint r = 0; r < 16; r++) {
                int p = position + min(row + r, last) / heads, oldest = window > 0 ? p - (int)window : -1;
                s[2 * r] = select(hidden, s[2 * r], s_lo <= p && s_lo > oldest);
                s[2 * r + 1] = select(hidden, s[2 * r + 1], s_hi <= p && s_hi > oldest);
            }
        }
#pragma unroll
        for (uint r = 0; r < 16; r++) top[r] = LARGER(LARGER(s[2 * r], s[2 * r + 1]), top[r]);
    }
    REDUCE16(LARGEST, top)
    return top[0];
}

// Scores of 16 rows become weights, 2 to the power of what they are below the row's highest; returns the sums of rows.
inline float16 weigh(const float16 *scores, const float *highest, uint blocks, uint16 *weights) {
    float16 sums[16];
    for (uint r = 0; r < 16; r++) {
        float16 sum = 0.0f, top = highest[r];
        for (uint b = 0; b < blocks; b++) {
            const float16 *s = scores + b * SUMS + 2 * r;
            float16 lo = exp2_negative(s[0] - top), hi = exp2_negative(s[1] - top);
            sum += lo + hi;
            for (uint part = PARTS; part-- > 0;) weights[b * X_STEP + part * 32 + r] = split_pairs(&lo, &hi);
        }
        sums[r] = sum;
    }
    REDUCE16(SUM, sums)
    return sums[0];
}

// sums = sums * rescale + products, a factor a row.
inline void add_products(float16 *sums, const float16 *products, const float *rescale, uint rows) {
    for (uint n = 0; n < DEPTH * SUMS; n += SUMS)
        for (uint r = 0; r < rows; r++)
            for (uint i = n + 2 * r; i < n + 2 * r + 2; i++)
                sums[i] = MULTIPLY_ADD(sums[i], (float16)(rescale[r]), products[i]);
}

__kernel void attention_amx(__global const float *q_THK, __global const half *k_cache, __global const half *v_cache,
                            __global const int *block_tables, __global const int *tiles, __global float *out_THK,
                            uint H, uint G, uint table_stride, uint window, float scale) {
    __global const int *tile = tiles + get_global_id(0) * 5;
    uint g = get_global_id(1), heads = H / G;
    uint position = tile[1], row0 = tile[3], rows = tile[4], groups = (rows + 31) / 32, last_row = row0 + rows - 1;
    __global const int *table = block_tables + (ulong)tile[2] * table_stride;
    q_THK += ((ulong)tile[0] * H + g * heads) * K;
    out_THK += ((ulong)tile[0] * H + g * heads) * K;

    uint16 queries[ROWS / 32][DEPTH * X_STEP];
    float16 sums[ROWS / 32][DEPTH * SUMS];
    float16 highest[ROWS / 16], total[ROWS / 16];
    uint16 keys[STEP][DEPTH * W_STEP];
    uint16 values[DEPTH][STEP * W_STEP];
    float16 scores[STEP * SUMS];
    uint16 weights[STEP * X_STEP];
    float16 products[DEPTH * SUMS];
    for (uint i = 0; i < groups; i++) {
        load_queries(q_THK, row0 + i * 32, last_row, heads, H, scale * M_LOG2E_F, queries[i]);
        for (uint j = 0; j < DEPTH * SUMS; j++) sums[i][j] = 0.0f;
    }
    for (uint i = 0; i < 2 * groups; i++) {
        highest[i] = -FLT_MAX;
        total[i] = 0.0f;
    }
    configure();

    uint first_p = position + row0 / heads, last_p = position + last_row / heads;
    uint begin = window > 0 ? max((int)(first_p + 1) - (int)window, 0) : 0;
    for (uint block = begin / BLOCK; block <= last_p / BLOCK; block += STEP) {
        uint s0 = block * BLOCK, blocks = min((uint)STEP, last_p / BLOCK + 1 - block);
        for (uint b = 0; b < blocks; b++) {
            ulong cached = ((ulong)table[block + b] * G + g) * (BLOCK * K);
            convert_keys(k_cache + cached, keys[b]);
            convert_values(v_cache + cached, last_p + 1 - s0 - b * BLOCK, values[0] + b * W_STEP);
        }
        for (uint i = 0; i < groups; i++) {
            uint row = row0 + i * 32, own_rows = min(rows - i * 32, 32u);
            uint oldest = position + row / heads, newest = position + (row + own_rows - 1) / heads;
            uint past = window > 0 && oldest + 1 > s0 + window ? (oldest + 1 - s0 - window) / BLOCK : 0;
            uint end = newest < s0 ? 0 : min(blocks, (newest - s0) / BLOCK + 1);
            if (past >= end) continue;
            Seen seen = {oldest, newest, s0 + past * BLOCK, end - past};
            for (uint b = 0; b < seen.blocks; b++) multiply(queries[i], keys[past + b], DEPTH, scores + b * SUMS);
            float16 rescale[2];
            for (uint half_group = 0; half_group * 16 < own_rows; half_group++) {
                uint r = half_group * 16, sixteen = 2 * i + half_group;
                float16 top = largest_scores(scores + 2 * r, seen, position, row + r, last_row, heads, window);
                float16 higher = LARGER(top, highest[sixteen]), factor = exp2_negative(highest[sixteen] - higher);
                highest[sixteen] = higher;
                rescale[half_group] = factor;
                float16 sum = weigh(scores + 2 * r, (const float *)(highest + sixteen), seen.blocks, weights + r);
                total[sixteen] = MULTIPLY_ADD(total[sixteen], factor, sum);
            }
            for (uint n = 0; n < DEPTH; n++) multiply(weights, values[n] + past * W_STEP, seen.blocks, products + n * SUMS);
            add_products(sums[i], products, (const float *)rescale, own_rows);
        }
    }
    release();

    const float *totals = (const float *)total;
    for (uint r = 0; r < rows; r++) {
        __global float *out = out_THK + ((ulong)((row0 + r) / heads) * H + (row0 + r) % heads) * K;
        float factor = 1.0f / totals[r];
        for (uint j = 0; j < 2 * DEPTH; j++) vstore16(sums[r / 32][j / 2 * SUMS + r % 32 * 2 + j % 2] * factor, j, out);
    }
}
