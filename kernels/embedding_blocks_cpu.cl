// x[t, d] = w[ids[t], d] * scale, quantised weights; CPU family: one work-item a row.
//
// w_VD   blocks in     rows [first, first + rows) of [V, D], FORMAT, in the order of block_lanes.cl: the 16 rows that begin
//                      with row v at w + w_offset + (v - first) * w_stride (bytes)
// ids_T  int32 in      [T]; rows outside the segment leave their row of x as it is
// x_TD   float32 out   [T, D], D a multiple of the blocks' elements
// Global size (T), local size (1). All sixteen rows are decoded, and one is kept.

#ifndef FORMAT
#define FORMAT Q4_0
#endif

#include "block_lanes.cl"

__kernel void embedding(__global const uchar *w_VD, ulong w_offset, ulong w_stride, uint first, uint rows,
                        __global const int *ids_T, __global float *x_TD, uint D, float scale) {
    uint t = get_global_id(0);
    uint v = (uint)ids_T[t] - first;
    if (v >= rows) return;
    __global const uchar *w = w_VD + w_offset + (ulong)(v / 16 * 16) * w_stride;
    __global float *x = x_TD + (ulong)t * D;
    float low[16], high[16];
    for (uint d = 0; d < D; d += 32) {
        uint16 q[16];
        float16 scales[HALVES], minima[HALVES];
        decode_part(w + (ulong)(d / 32 / PARTS) * (16 * BLOCK_BYTES), d / 32 % PARTS, q, scales, minima);
        for (uint i = 0; i < 16; i++) {
            float16 a = LOW(q[i]) * scales[i * HALVES / 16], b = HIGH(q[i]) * scales[i * HALVES / 16];
#if HAS_MINIMUM
            a += minima[i * HALVES / 16], b += minima[i * HALVES / 16];
#endif
            vstore16(a, 0, low);
            vstore16(b, 0, high);
            x[d + i / 2 * 4 + i % 2] = low[v % 16] * scale;
            x[d + i / 2 * 4 + i % 2 + 2] = high[v % 16] * scale;
        }
    }
}
