// x[t, d] = w[ids[t], d]; portable: one work-item an element.
//
// w_VD   float16 in   rows [first, first + rows) of [V, D], row v at w + w_offset + (v - first) * w_stride (elements)
// ids_T  int32 in     [T]; rows outside the segment leave their row of x as it is
// x_TD   float32 out  [T, D]
// Global size (at least D, T), any local size.

__kernel void embedding(__global const half *w_VD, ulong w_offset, ulong w_stride, uint first, uint rows,
                        __global const int *ids_T, __global float *x_TD, uint D) {
    uint d = get_global_id(0), t = get_global_id(1);
    uint v = (uint)ids_T[t] - first;
    if (d < D && v < rows) x_TD[(ulong)t * D + d] = vload_half((ulong)v * w_stride + d, w_VD + w_offset);
}
