// out[t, h] = softmax over s of (q[t, h] . k[s, g] * scale) times v[s, g], g = h / (H / G); portable, several tokens.
// Token t at position p sees positions s <= p, and only s > p - window when window > 0.
// With SOFTCAP a score s becomes softcap * tanh(s / softcap).
//
// q_THK         float32 in   [T, H, K]
// k_cache, v_cache  float16 in   [blocks, G, BLOCK, K]; or Q8_0, as cached_rows.cl has it
// block_tables  int32 in     [sequences, table_stride]: the physical blocks of each sequence in order of position
// tiles         int32 in     [tiles, 5]: first token in the batch, its position, sequence, first row, number of rows;
//                            row r of a sequence's H / G query heads a token: token r / (H / G), head r % (H / G)
// out_THK       float32 out  [T, H, K]; may not be q
// Global size (64 * tiles, G), local size (64, 1). Accumulators: float32.
// A work-group holds up to ROWS rows and meets KEYS keys at a time in local memory. Its items are a square of 8 x 8: each
// scores ROWS / 8 rows against KEYS / 8 keys in registers, and adds up as many rows of every eighth group of eight
// columns of the values; the running softmax (Milakov and Gimelshein, 2018) rescales these sums.

#ifndef K
#define K 64 // head width
#endif
#ifndef BLOCK
#define BLOCK 32 // positions in a block of the cache
#endif
#ifndef ROWS
#define ROWS 32 // most rows of a tile: 8, 16 or 32
#endif
#ifndef KEYS
#define KEYS 32 // keys in local memory together: 8, 16 or 32; divides BLOCK
#endif

#ifndef CACHE_Q8_0
#define CACHE_Q8_0 0 // 1: the cache holds Q8_0
#endif

#define ALIGNED (K % 8 == 0)
#include "cached_rows.cl"
#include "capped.cl"

#define GROUP 64
#define SIDE 8
#define SHARE (GROUP / ROWS)                  // items that share a row's softmax
#define OWN_OCTETS ((OCTETS + SIDE - 1) / SIDE) // groups of eight columns that an item has
#define Q_ROW (OCTETS * 8 + 4)                // floats of a query: neighbours lie in different banks

__kernel void attention_prefill(__global const float *q_THK, __global const Cached *k_cache,
                                __global const Cached *v_cache, __global const int *block_tables,
                                __global const int *tiles, __global float *out_THK, uint H, uint G,
                                uint table_stride, uint window, float scale, float softcap) {
    __local float q[ROWS * Q_ROW] __attribute__((aligned(16)));
    __local uint cached[KEYS * ROW_WORDS] __attribute__((aligned(16)));
    __local float scores[ROWS][KEYS + 1], rescale[ROWS], totals[GROUP];
    uint item = get_local_id(0), g = get_group_id(1), heads = H / G;
    __global const int *tile = tiles + get_group_id(0) * 5;
    uint token = tile[0], position = tile[1], row0 = tile[3], rows = tile[4];
    __global const int *table = block_tables + (ulong)tile[2] * table_stride;
    for (uint i = item; i < ROWS * OCTETS * 8; i += GROUP) {
        uint r = i / (OCTETS * 8), k = i % (OCTETS * 8), row = row0 + min(r, rows - 1); // rows past the end repeat the last one
        __global const float *source = q_THK + ((ulong)(token + row / heads) * H + g * heads + row % heads) * K;
        q[r * Q_ROW + k] = k < K ? source[k] * QUERY_FACTOR : 0.0f;
    }
    uint column = item % SIDE, line = item / SIDE; // rows line + SIDE * i; keys and octets column + SIDE * j
    float8 sums[ROWS / SIDE][OWN_OCTETS];
    UNROLL for (uint i = 0; i < ROWS / SIDE; i++)
        UNROLL for (uint j = 0; j < OWN_OCTETS; j++) sums[i][j] = 0.0f;
    uint own = item / SHARE;
    float highest = -FLT_MAX, total = 0.0f; // of row `own`; the total of the item's share of its keys

    uint first = position + row0 / heads, last = position + (row0 + rows - 1) / heads;
    uint begin = window > 0 ? max((int)(first + 1) - (int)window, 0) : 0;
    for (uint s0 = begin / KEYS * KEYS; s0 <= last; s0 += KEYS) {
        ulong unit = ((ulong)table[s0 / BLOCK] * G + g) * UNIT;
        uint count = min((uint)KEYS, last + 1 - s0); // what lies past it in the block is copied, and not used
        barrier(CLK_LOCAL_MEM_FENCE); // q is written; the values of the previous round are read
        for (uint i = item; i < KEYS * OCTETS; i += GROUP) {
            uint s = i / OCTETS;
            copy8_cached(k_cache + unit, s0 % BLOCK + s, i % OCTETS * 8, cached + s * ROW_WORDS);
        }
        barrier(CLK_LOCAL_MEM_FENCE); // the keys are written before they are read
        float products[ROWS / SIDE][KEYS / SIDE];
        UNROLL for (uint i = 0; i < ROWS / SIDE; i++)
            UNROLL for (uint j = 0; j < KEYS / SIDE; j++) products[i][j] = 0.0f;
        for (uint k = 0; k < OCTETS * 8; k += 8) {
            float8 keys[KEYS / SIDE];
            UNROLL for (uint j = 0; j < KEYS / SIDE; j++)
                keys[j] = local8_cached(cached + (column + SIDE * j) * ROW_WORDS, k);
            UNROLL for (uint i = 0; i < ROWS / SIDE; i++) {
                float8 query = local8_float(q + (line + SIDE * i) * Q_ROW + k);
                UNROLL for (uint j = 0; j < KEYS / SIDE; j++) products[i][j] = dot8(keys[j], query, products[i][j]);
            }
        }
        UNROLL for (uint i = 0; i < ROWS / SIDE; i++) {
            uint p = position + (row0 + min(line + SIDE * i, rows - 1)) / heads;
            UNROLL for (uint j = 0; j < KEYS / SIDE; j++) {
                uint s = s0 + column + SIDE * j;
                int seen = s <= p && (window == 0 || s + window > p);
                scores[line + SIDE * i][column + SIDE * j] = seen ? CAPPED(products[i][j]) : -INFINITY;
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE); // the scores are written before they are read
        float top = highest;
        for (uint s = 0; s < KEYS; s++) top = fmax(top, scores[own][s]);
        float factor = exp(highest - top);
        highest = top;
        total *= factor;
        barrier(CLK_LOCAL_MEM_FENCE); // scores are read before weights replace them, and keys before values do
        for (uint i = item; i < KEYS * OCTETS; i += GROUP) {
            uint s = i / OCTETS;
            copy8_cached(v_cache + unit, s0 % BLOCK + s, i % OCTETS * 8, cached + s * ROW_WORDS);
        }
        for (uint s = item % SHARE; s < KEYS; s += SHARE) {
            float weight = exp(scores[own][s] - top);
            scores[own][s] = weight;
            total += weight;
        }
        if (item % SHARE == 0) rescale[own] = factor;
        barrier(CLK_LOCAL_MEM_FENCE); // weights, factors and values are written before they are read
        UNROLL for (uint i = 0; i < ROWS / SIDE; i++)
            UNROLL for (uint j = 0; j < OWN_OCTETS; j++) sums[i][j] *= rescale[line + SIDE * i];
        for (uint s = 0; s < count; s++) {
            UNROLL for (uint j = 0; j < OWN_OCTETS; j++) {
                float8 value = local8_cached(cached + s * ROW_WORDS, min(column + SIDE * j, (uint)OCTETS - 1) * 8);
                UNROLL for (uint i = 0; i < ROWS / SIDE; i++) sums[i][j] += value * scores[line + SIDE * i][s];
            }
        }
    }
    totals[item] = total;
    barrier(CLK_LOCAL_MEM_FENCE); // the items' totals are written before they are read
    UNROLL for (uint i = 0; i < ROWS / SIDE; i++) {
        uint r = line + SIDE * i, row = row0 + r;
        if (r >= rows) continue;
        __global float *out = out_THK + ((ulong)(token + row / heads) * H + g * heads + row % heads) * K;
        total = 0.0f;
        for (uint j = 0; j < SHARE; j++) total += totals[r * SHARE + j];
        UNROLL for (uint j = 0; j < OWN_OCTETS; j++) {
            uint k = (column + SIDE * j) * 8;
            float values[8];
            vstore8(sums[i][j] / total, 0, values);
            UNROLL for (uint l = 0; l < 8; l++)
                if (k + l < K) out[k + l] = values[l];
        }
    }
}
