// x[t, d] = w[ids[t], d] * scale; portable: one work-item an element, or sixteen of blocks.
//
// w_VD   float16 in   rows [first, first + rows) of [V, D], row v at w + w_offset + (v - first) * w_stride (elements);
//                     or blocks of FORMAT (bytes)
// ids_T  int32 in     [T]; rows outside the segment leave their row of x as it is
// x_TD   float32 out  [T, D]
// Global size (at least D, T), of blocks (at least D / 16, T); any local size.

#ifndef FORMAT
#define FORMAT F16 // of the weights; block_rows.cl names the others, whose D is a multiple of 32
#endif

#include "block_rows.cl"

__kernel void embedding(__global const Stored *w_VD, ulong w_offset, ulong w_stride, uint first, uint rows,
                        __global const int *ids_T, __global float *x_TD, uint D, float scale) {
    ulong t = get_global_id(1);
    uint v = (uint)ids_T[t] - first;
#if FORMAT == F16
    uint d = get_global_id(0);
    if (d < D && v < rows) x_TD[t * D + d] = vload_half((ulong)v * w_stride + d, w_VD + w_offset) * scale;
#else
    uint d = get_global_id(0) * 16;
    if (d < D && v < rows) store_group(load_group(w_VD + w_offset + (ulong)v * w_stride, d), scale, x_TD + t * D + d);
#endif
}
