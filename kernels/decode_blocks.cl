// out[n, d] = w[n, d]: blocks become halves, for matrix units; portable: one work-item sixteen elements.
//
// w_ND    blocks of FORMAT in  [N, D], row n at w + w_offset + n * w_stride (bytes)
// out_ND  float16 out          [N, D]
// Global size (at least D / 16, N), any local size. A number beyond float16's range becomes its largest.

#ifndef FORMAT
#define FORMAT Q8_0 // of the weights; block_rows.cl names all, D is a multiple of 32
#endif

#include "block_rows.cl"

#define CLAMPED(numbers) clamp((numbers) * group.scale + group.offset, -65504.0f, 65504.0f)

__kernel void decode_blocks(__global const uchar *w_ND, ulong w_offset, ulong w_stride, __global half *out_ND, uint D) {
    uint d = get_global_id(0) * 16;
    if (d >= D) return;
    ulong n = get_global_id(1);
    Group group = load_group(w_ND + w_offset + n * w_stride, d);
    vstore_half8(CLAMPED(group.lo), 0, out_ND + n * D + d);
    vstore_half8(CLAMPED(group.hi), 1, out_ND + n * D + d);
}
