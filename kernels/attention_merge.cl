// The results of a token's chunks of context become one: the weights of each chunk are relative to its highest score.
// out[t, h] = sum over c of exp(highest[c] - highest) * values[c], over sum over c of exp(highest[c] - highest) * total[c].
//
// parts    float32 in   [chunks, H, K + 2]: weighted values, highest score, sum of the weights
// spans    int32 in     [tokens, 3]: token in the batch, its first chunk, number of chunks
// out_THK  float32 out  [T, H, K]
// Global size (GROUP * H, tokens), local size (GROUP, 1). Accumulators: float32. A work-group has one query head.

#ifndef K
#define K 64 // head width
#endif
#ifndef GROUP
#define GROUP 64 // work-items, any number
#endif

__kernel void attention_merge(__global const float *parts, __global const int *spans, __global float *out_THK, uint H) {
    uint item = get_local_id(0), h = get_group_id(0);
    __global const int *span = spans + get_group_id(1) * 3;
    uint token = span[0], count = span[2];
    __global const float *part = parts + ((ulong)span[1] * H + h) * (K + 2);
    ulong stride = (ulong)H * (K + 2);
    float highest = -FLT_MAX, total = 0.0f;
    float values[(K + GROUP - 1) / GROUP];
    for (uint i = 0; i < (K + GROUP - 1) / GROUP; i++) values[i] = 0.0f;
    for (uint c = 0; c < count; c++) highest = fmax(highest, part[c * stride + K]);
    for (uint c = 0; c < count; c++) {
        float factor = exp(part[c * stride + K] - highest);
        total = mad(factor, part[c * stride + K + 1], total);
        for (uint i = 0; i < (K + GROUP - 1) / GROUP; i++)
            values[i] = mad(factor, part[c * stride + min(item + i * GROUP, (uint)K - 1)], values[i]);
    }
    for (uint i = 0; i < (K + GROUP - 1) / GROUP; i++) {
        uint k = item + i * GROUP;
        if (k < K) out_THK[((ulong)token * H + h) * K + k] = values[i] / total;
    }
}
