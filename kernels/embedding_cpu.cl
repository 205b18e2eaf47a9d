// x[t, d] = w[ids[t], d]; CPU family: one work-item a row, sixteen elements at a time.
//
// w_VD   float16 in   rows [first, first + rows) of [V, D], row v at w + w_offset + (v - first) * w_stride (elements);
//                     or blocks of FORMAT (bytes)
// ids_T  int32 in     [T]; rows outside the segment leave their row of x as it is
// x_TD   float32 out  [T, D]
// Global size (T), local size (1).

#ifndef FORMAT
#define FORMAT F16 // of the weights; block_rows.cl names the others, whose D is a multiple of 32
#endif

#include "block_rows.cl"
#include "float16.cl"

__kernel void embedding(__global const Stored *w_VD, ulong w_offset, ulong w_stride, uint first, uint rows,
                        __global const int *ids_T, __global float *x_TD, uint D) {
    uint t = get_global_id(0);
    uint v = (uint)ids_T[t] - first;
    if (v >= rows) return;
    __global const Stored *w = w_VD + w_offset + (ulong)v * w_stride;
    __global float *x = x_TD + (ulong)t * D;
#if FORMAT == F16
    for (uint d = 0; d < D; d += 16) store16_float(load16_half(w + d, D - d), x + d, D - d);
#else
    for (uint d = 0; d < D; d += 16) store_group(load_group(w, d), x + d);
#endif
}
