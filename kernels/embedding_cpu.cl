// x[t, d] = w[ids[t], d] * scale; CPU family: one work-item a row, sixteen elements at a time.
//
// w_VD   float16 in   rows [first, first + rows) of [V, D], row v at w + w_offset + (v - first) * w_stride (elements)
// ids_T  int32 in     [T]; rows outside the segment leave their row of x as it is
// x_TD   float32 out  [T, D]
// Global size (T), local size (1).

#include "float16.cl"

__kernel void embedding(__global const half *w_VD, ulong w_offset, ulong w_stride, uint first, uint rows,
                        __global const int *ids_T, __global float *x_TD, uint D, float scale) {
    uint t = get_global_id(0);
    uint v = (uint)ids_T[t] - first;
    if (v >= rows) return;
    __global const half *w = w_VD + w_offset + (ulong)v * w_stride;
    for (uint d = 0; d < D; d += 16)
        store16_float(load16_half(w + d, D - d) * scale, x_TD + (ulong)t * D + d, D - d);
}
