// out[t, h] = softmax over s of (q[t, h] . k[s, g] * scale) times v[s, g], g = h / (H / G); portable, one token a sequence.
// Token t at position p sees positions s <= p, and only s > p - window when window > 0.
// With SOFTCAP a score s becomes softcap * tanh(s / softcap).
//
// q_THK         float32 in   [T, H, K]
// k_cache, v_cache  float16 in   [blocks, G, BLOCK, K]; or Q8_0, as cached_rows.cl has it
// block_tables  int32 in     [sequences, table_stride]: the physical blocks of each sequence in order of position
// chunks        int32 in     [chunks, 5]: token in the batch, its position, sequence, first position of the chunk (a
//                            multiple of BLOCK), number of positions (at most CHUNK)
// out           float32 out  split 0: [T, H, K], the only chunk of each token gives its result; may not be q
//                            split 1: [chunks, H, K + 2]: values weighted by exp(score - highest), not yet divided; the
//                            highest score (-FLT_MAX where the window leaves none); the sum of the weights
// Global size (GROUP * G * ceil(H / G / HEADS), chunks), local size (GROUP, 1). Accumulators: float32.
// A work-group has one chunk and HEADS query heads that share a key head, so that keys and values are read once for
// these; the chunks of a long context fill a wide device (Dao et al., Flash-Decoding, 2023). A block of keys goes
// through local memory, where an item scores one of them; values are read by columns, several positions at once.

#ifndef K
#define K 64 // head width; even
#endif
#ifndef BLOCK
#define BLOCK 32 // positions in a block of the cache
#endif
#ifndef HEADS
#define HEADS 1 // query heads together: 1, 2, 4 or 8; HEADS * (CHUNK + K) floats of local memory
#endif
#ifndef CHUNK
#define CHUNK 256 // most positions of a chunk: a multiple of BLOCK
#endif
#ifndef GROUP
#define GROUP 64 // work-items: 64 or 128
#endif

#ifndef CACHE_Q8_0
#define CACHE_Q8_0 0 // 1: the cache holds Q8_0
#endif

#define ALIGNED (K % 8 == 0)
#include "cached_rows.cl"
#include "capped.cl"

#define LANES OCTETS                                          // items that read a position's values, eight columns each
#define SUBS (GROUP / LANES)                                  // positions whose values are read together
#define STRIDE (GROUP / BLOCK)                                // items that share a key
#define OWN_HEADS ((HEADS + STRIDE - 1) / STRIDE)             // scores of a key that an item computes
#define SHARE (GROUP / HEADS)                                 // items that share a head's softmax
#if LANES > GROUP || GROUP % BLOCK != 0
#error "GROUP is too small for K, or no multiple of BLOCK"
#endif

__kernel void attention_decode(__global const float *q_THK, __global const Cached *k_cache,
                               __global const Cached *v_cache, __global const int *block_tables,
                               __global const int *chunks, __global float *out, uint H, uint G,
                               uint table_stride, uint window, float scale, float softcap, uint split) {
    __local float q[HEADS * LANES * 8] __attribute__((aligned(16)));
    __local uint keys[BLOCK * ROW_WORDS] __attribute__((aligned(16)));
    __local float weights[HEADS][CHUNK], reduced[GROUP], sums[SUBS * LANES * 8];
    uint item = get_local_id(0), heads = H / G, tiles = (heads + HEADS - 1) / HEADS;
    uint g = get_group_id(0) / tiles, head0 = get_group_id(0) % tiles * HEADS, row = get_group_id(1);
    uint count = min((uint)HEADS, heads - head0); // query heads of this group
    __global const int *chunk = chunks + row * 5;
    uint token = chunk[0], position = chunk[1], origin = chunk[3], end = origin + chunk[4];
    __global const int *table = block_tables + (ulong)chunk[2] * table_stride;
    uint begin = origin; // the window may begin inside the chunk, or past it
    if (window > 0 && position + 1 > window) begin = max(begin, position + 1 - window);
    __global const float *queries = q_THK + ((ulong)token * H + g * heads + head0) * K;
    for (uint i = item; i < HEADS * LANES * 8; i += GROUP) {
        uint h = i / (LANES * 8), k = i % (LANES * 8);
        q[i] = h < count && k < K ? queries[h * K + k] * QUERY_FACTOR : 0.0f;
    }

    for (uint s0 = begin / BLOCK * BLOCK; s0 < end; s0 += BLOCK) {
        __global const Cached *unit = k_cache + ((ulong)table[s0 / BLOCK] * G + g) * UNIT;
        barrier(CLK_LOCAL_MEM_FENCE); // q is written; the keys of the previous round are read
        for (uint i = item; i < BLOCK * LANES; i += GROUP) {
            uint s = i / LANES;
            copy8_cached(unit, s, i % LANES * 8, keys + s * ROW_WORDS);
        }
        barrier(CLK_LOCAL_MEM_FENCE); // the keys are written before they are read
        uint s = s0 + item % BLOCK;
        float scores[OWN_HEADS];
        UNROLL for (uint i = 0; i < OWN_HEADS; i++) scores[i] = 0.0f;
        for (uint k = 0; k < LANES * 8; k += 8) {
            float8 key = local8_cached(keys + item % BLOCK * ROW_WORDS, k);
            UNROLL for (uint i = 0; i < OWN_HEADS; i++) {
                uint h = min(item / BLOCK + i * STRIDE, (uint)HEADS - 1);
                scores[i] = dot8(key, local8_float(q + h * LANES * 8 + k), scores[i]);
            }
        }
        UNROLL for (uint i = 0; i < OWN_HEADS; i++) {
            uint h = item / BLOCK + i * STRIDE;
            if (h < HEADS && s >= begin && s < end) weights[h][s - origin] = CAPPED(scores[i]);
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE); // the scores are written before they are read

    uint own = item / SHARE;
    float highest = -FLT_MAX, total = 0.0f;
    for (uint s = begin + item % SHARE; s < end; s += SHARE) highest = fmax(highest, weights[own][s - origin]);
    reduced[item] = highest;
    barrier(CLK_LOCAL_MEM_FENCE); // the items' maxima are written before they are read
    for (uint i = 0; i < SHARE; i++) highest = fmax(highest, reduced[own * SHARE + i]);
    for (uint s = begin + item % SHARE; s < end; s += SHARE) {
        float weight = exp(weights[own][s - origin] - highest);
        weights[own][s - origin] = weight;
        total += weight;
    }
    barrier(CLK_LOCAL_MEM_FENCE); // the weights are written before they are read; the maxima are read
    reduced[item] = total;
    barrier(CLK_LOCAL_MEM_FENCE); // the items' totals are written before they are read
    total = 0.0f;
    for (uint i = 0; i < SHARE; i++) total += reduced[own * SHARE + i];

    uint lane = item % LANES, sub = item / LANES;
    float8 values[HEADS];
    UNROLL for (uint h = 0; h < HEADS; h++) values[h] = 0.0f;
    if (sub < SUBS) {
        for (uint s0 = begin / BLOCK * BLOCK; s0 < end; s0 += BLOCK) {
            __global const Cached *unit = v_cache + ((ulong)table[s0 / BLOCK] * G + g) * UNIT;
            uint lowest = max(begin, s0), last = min(end, s0 + BLOCK) - 1;
            UNROLL for (uint i = 0; i < BLOCK; i += SUBS) { // loads do not depend on conditions; a clamped position weighs 0
                uint s = s0 + i + sub, at = clamp(s, lowest, last);
                float8 value = load8_cached(unit, at % BLOCK, lane * 8);
                UNROLL for (uint h = 0; h < HEADS; h++) values[h] += value * (at == s ? weights[h][at - origin] : 0.0f);
            }
        }
    }
    uint width = split ? K + 2 : K;
    __global float *out_row = out + ((ulong)(split ? row : token) * H + g * heads + head0) * width;
    __local float ends[HEADS][2];
    if (item % SHARE == 0) {
        ends[own][0] = highest;
        ends[own][1] = total;
    }
    UNROLL for (uint h = 0; h < HEADS; h++) {
        barrier(CLK_LOCAL_MEM_FENCE); // highest scores and totals are written; the sums of the previous head are read
        if (sub < SUBS) vstore8(values[h], sub * LANES + lane, sums);
        barrier(CLK_LOCAL_MEM_FENCE); // the sums are written before they are read
        for (uint k = item; k < K && h < count; k += GROUP) {
            float value = 0.0f;
            for (uint i = 0; i < SUBS; i++) value += sums[i * LANES * 8 + k];
            out_row[h * width + k] = split ? value : value / ends[h][1];
        }
        if (split && item < 2 && h < count) out_row[h * width + K + item] = ends[h][item];
    }
}
