// Joins the chunks of a context that attention_decode_cpu.cl divided: with the highest score m of all chunks c,
// out[t, h] = (sum over c of 2^(m_c - m) sums_c) / (sum over c of 2^(m_c - m) totals_c). CPU family.
//
// partials  float32 in   [partials, H, K + 2]: sums (K), highest score m in units of log 2, total
// merges    int32 in     [merges, 3]: token in the batch, first partial, number of partials
// out_THK   float32 out  [T, H, K]
// Global size (merges, H), local size (1, 1).

#include "float16.cl"

#ifndef K
#define K 64 // head width
#endif

#define WIDTH ((K + 15) / 16) // vectors of a head

__kernel void attention_merge(__global const float *partials, __global const int *merges, __global float *out_THK,
                              uint H) {
    __global const int *merge = merges + get_global_id(0) * 3;
    uint h = get_global_id(1), count = merge[2];
    __global const float *partial = partials + ((ulong)merge[1] * H + h) * (K + 2);
    ulong stride = (ulong)H * (K + 2);
    float highest = -FLT_MAX, total = 0.0f;
    float16 sums[WIDTH];
    for (uint j = 0; j < WIDTH; j++) sums[j] = 0.0f;
    for (uint c = 0; c < count; c++) highest = fmax(highest, partial[c * stride + K]);
    for (uint c = 0; c < count; c++) {
        __global const float *p = partial + c * stride;
        if (p[K + 1] == 0.0f) continue; // wholly outside a window: its sums were not written
        float weight = exp2(p[K] - highest);
        total = MULTIPLY_ADD(weight, p[K + 1], total);
        for (uint j = 0; j < WIDTH; j++)
            sums[j] = MULTIPLY_ADD((float16)(weight), load16_float(p + 16 * j, K - 16 * j), sums[j]);
    }
    __global float *out = out_THK + ((ulong)merge[0] * H + h) * K;
    for (uint j = 0; j < WIDTH; j++) store16_float(sums[j] / total, out + 16 * j, K - 16 * j);
}
