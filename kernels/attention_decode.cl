// out[t, h] = softmax over s of (q[t, h] . k[s, g] * scale) times v[s, g], g = h / (H / G); portable, one token a sequence.
// Token t at position p sees positions s <= p, and only s > p - window when window > 0.
//
// q_THK         float32 in   [T, H, K]
// k_cache, v_cache  float16 in   [blocks, G, BLOCK, K]
// block_tables  int32 in     [sequences, table_stride]: the physical blocks of each sequence in order of position
// tiles         int32 in     [tiles, 5]: token in the batch, its position, sequence; the rest is not read
// out_THK       float32 out  [T, H, K]; may not be q
// Global size (64 * H, tiles), local size (64, 1). Accumulators: float32.
// A work-group has one query head: each item scores one of 64 keys, then adds up columns of the 64 values, with the
// running softmax of Milakov and Gimelshein (2018).

#ifndef K
#define K 64 // head width
#endif
#ifndef BLOCK
#define BLOCK 32 // positions in a block of the cache
#endif

#define GROUP 64
#define COLUMNS ((K + GROUP - 1) / GROUP) // columns of the values an item has

__kernel void attention_decode(__global const float *q_THK, __global const half *k_cache,
                               __global const half *v_cache, __global const int *block_tables,
                               __global const int *tiles, __global float *out_THK, uint H, uint G,
                               uint table_stride, uint window, float scale) {
    __local float q[K], weights[GROUP], reduced[GROUP];
    uint item = get_local_id(0), h = get_group_id(0), g = h / (H / G);
    __global const int *tile = tiles + get_group_id(1) * 5;
    uint token = tile[0], position = tile[1];
    __global const int *table = block_tables + (ulong)tile[2] * table_stride;
    ulong row = ((ulong)token * H + h) * K;
    for (uint k = item; k < K; k += GROUP) q[k] = q_THK[row + k] * scale;
    float sums[COLUMNS];
    for (uint i = 0; i < COLUMNS; i++) sums[i] = 0.0f;
    float highest = -FLT_MAX, total = 0.0f;
    barrier(CLK_LOCAL_MEM_FENCE); // q is written before it is read

    uint begin = window > 0 ? max((int)(position + 1) - (int)window, 0) : 0;
    for (uint s0 = begin; s0 <= position; s0 += GROUP) {
        uint s = s0 + item, count = min((uint)GROUP, position + 1 - s0);
        float score = -INFINITY;
        if (s <= position) {
            __global const half *key = k_cache + (((ulong)table[s / BLOCK] * G + g) * BLOCK + s % BLOCK) * K;
            score = 0.0f;
            for (uint k = 0; k < K; k++) score = mad(q[k], vload_half(k, key), score);
        }
        reduced[item] = score;
        for (uint half_group = GROUP / 2; half_group > 0; half_group /= 2) {
            barrier(CLK_LOCAL_MEM_FENCE); // the maxima of the previous round are all written
            if (item < half_group) reduced[item] = fmax(reduced[item], reduced[item + half_group]);
        }
        barrier(CLK_LOCAL_MEM_FENCE); // the maximum is written before every item reads it
        float top = fmax(highest, reduced[0]), rescale = exp(highest - top);
        highest = top;
        weights[item] = exp(score - top);
        total = total * rescale + weights[item];
        barrier(CLK_LOCAL_MEM_FENCE); // the weights are written before they are read; the maximum is read
        for (uint i = 0; i < COLUMNS; i++) {
            uint k = item + i * GROUP;
            if (k >= K) continue;
            float value = sums[i] * rescale;
            for (uint j = 0; j < count; j++) {
                uint at = s0 + j;
                ulong cached = (((ulong)table[at / BLOCK] * G + g) * BLOCK + at % BLOCK) * K;
                value = mad(weights[j], vload_half(cached + k, v_cache), value);
            }
            sums[i] = value;
        }
        barrier(CLK_LOCAL_MEM_FENCE); // the weights are read before they are written again
    }
    reduced[item] = total;
    for (uint half_group = GROUP / 2; half_group > 0; half_group /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE); // the totals of the previous round are all written
        if (item < half_group) reduced[item] += reduced[item + half_group];
    }
    barrier(CLK_LOCAL_MEM_FENCE); // the total is written before every item reads it
    for (uint i = 0; i < COLUMNS; i++) {
        uint k = item + i * GROUP;
        if (k < K) out_THK[row + k] = sums[i] / reduced[0];
    }
}
