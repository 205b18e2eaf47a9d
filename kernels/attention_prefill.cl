// out[t, h] = softmax over s of (q[t, h] . k[s, g] * scale) times v[s, g], g = h / (H / G); portable, several tokens.
// Token t at position p sees positions s <= p, and only s > p - window when window > 0.
//
// q_THK         float32 in   [T, H, K]
// k_cache, v_cache  float16 in   [blocks, G, BLOCK, K]
// block_tables  int32 in     [sequences, table_stride]: the physical blocks of each sequence in order of position
// tiles         int32 in     [tiles, 5]: first token in the batch, its position, sequence, first row, number of rows;
//                            row r of a sequence's H / G query heads a token: token r / (H / G), head r % (H / G)
// out_THK       float32 out  [T, H, K]; may not be q
// Global size (64 * tiles, G), local size (64, 1). Accumulators: float32.
// A work-group holds up to 16 rows and meets KEYS keys at a time in local memory; four items share a row, and the
// running softmax (Milakov and Gimelshein, 2018) rescales their sums of values.

#ifndef K
#define K 64 // head width
#endif
#ifndef BLOCK
#define BLOCK 32 // positions in a block of the cache
#endif
#ifndef KEYS
#define KEYS 16 // keys in local memory together; divides BLOCK
#endif

#define GROUP 64
#define ROWS 16
#define SHARE (GROUP / ROWS) // items a row

__kernel void attention_prefill(__global const float *q_THK, __global const half *k_cache,
                                __global const half *v_cache, __global const int *block_tables,
                                __global const int *tiles, __global float *out_THK, uint H, uint G,
                                uint table_stride, uint window, float scale) {
    __local float q[ROWS][K], cached[KEYS][K + 1], scores[ROWS][KEYS], rescale[ROWS], total[ROWS];
    uint item = get_local_id(0), g = get_group_id(1), heads = H / G;
    __global const int *tile = tiles + get_group_id(0) * 5;
    uint token = tile[0], position = tile[1], row0 = tile[3], rows = tile[4];
    __global const int *table = block_tables + (ulong)tile[2] * table_stride;
    for (uint i = item; i < ROWS * K; i += GROUP) {
        uint row = row0 + min(i / K, rows - 1); // rows past the end repeat the last one
        q[i / K][i % K] = q_THK[((ulong)(token + row / heads) * H + g * heads + row % heads) * K + i % K] * scale;
    }
    uint own_row = item / SHARE, own_column = item % SHARE;
    float sums[(K + SHARE - 1) / SHARE];
    for (uint i = 0; i < (K + SHARE - 1) / SHARE; i++) sums[i] = 0.0f;
    float highest = -FLT_MAX, sum = 0.0f; // of row `item`, in the first ROWS items

    uint first = position + row0 / heads, last = position + (row0 + rows - 1) / heads;
    uint begin = window > 0 ? max((int)(first + 1) - (int)window, 0) : 0;
    for (uint s0 = begin / KEYS * KEYS; s0 <= last; s0 += KEYS) {
        ulong source = (((ulong)table[s0 / BLOCK] * G + g) * BLOCK + s0 % BLOCK) * K;
        uint count = min((uint)KEYS, last + 1 - s0);
        barrier(CLK_LOCAL_MEM_FENCE); // q is written; the values of the previous round are read
        for (uint i = item; i < count * K; i += GROUP) cached[i / K][i % K] = vload_half(source + i, k_cache);
        barrier(CLK_LOCAL_MEM_FENCE); // the keys are written before they are read
        for (uint i = item; i < ROWS * KEYS; i += GROUP) {
            uint r = i / KEYS, s = i % KEYS, p = position + (row0 + min(r, rows - 1)) / heads;
            float score = -INFINITY;
            if (s < count && s0 + s <= p && (window == 0 || s0 + s + window > p)) {
                score = 0.0f;
                for (uint k = 0; k < K; k++) score = mad(q[r][k], cached[s][k], score);
            }
            scores[r][s] = score;
        }
        barrier(CLK_LOCAL_MEM_FENCE); // the scores are written; the keys are read before values replace them
        for (uint i = item; i < count * K; i += GROUP) cached[i / K][i % K] = vload_half(source + i, v_cache);
        if (item < ROWS) {
            float top = highest;
            for (uint s = 0; s < KEYS; s++) top = fmax(top, scores[item][s]);
            rescale[item] = exp(highest - top);
            sum *= rescale[item];
            highest = top;
            for (uint s = 0; s < KEYS; s++) {
                float weight = exp(scores[item][s] - top);
                scores[item][s] = weight;
                sum += weight;
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE); // weights, factors and values are written before they are read
        for (uint i = 0; i < (K + SHARE - 1) / SHARE; i++) {
            uint k = own_column + i * SHARE;
            if (k >= K) continue;
            float value = sums[i] * rescale[own_row];
            for (uint s = 0; s < count; s++) value = mad(scores[own_row][s], cached[s][k], value);
            sums[i] = value;
        }
    }
    if (item < ROWS) total[item] = sum;
    barrier(CLK_LOCAL_MEM_FENCE); // the totals are written before they are read
    if (own_row >= rows) return;
    uint row = row0 + own_row;
    __global float *out = out_THK + ((ulong)(token + row / heads) * H + g * heads + row % heads) * K;
    for (uint i = 0; i < (K + SHARE - 1) / SHARE; i++) {
        uint k = own_column + i * SHARE;
        if (k < K) out[k] = sums[i] / total[own_row];
    }
}
