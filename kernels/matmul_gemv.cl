// y[t, n] = (accumulate ? y[t, n] : 0) + bias[n] + sum over d of x[t, d] * w[n, d]; a few rows t, portable.
//
// w_ND    float16 in   [N, D], row n at w + w_offset + n * w_stride (elements)
// x_TD    float32 in   [T, D], row t at x + t * D; T <= TILE_T
// bias_N  float32 in   row n of w at first + n, read when flags & 2
// y_TN    float32 out  [T, y_stride], row n of w in column first + n; added to when flags & 1
// Global size (N * GROUP), local size (GROUP). Accumulator: float32.
// A work-group computes one row of w: its items read neighbouring groups of four weights and add up in local memory.

#ifndef GROUP
#define GROUP 64 // work-items a row; a power of two
#endif
#ifndef TILE_T
#define TILE_T 1 // most rows of x
#endif

#define ACCUMULATE 1
#define BIAS 2

__kernel void matmul_gemv(__global const half *w_ND, ulong w_offset, ulong w_stride,
                          __global const float *x_TD, __global const float *bias_N,
                          __global float *y_TN, ulong y_stride, uint first, uint T, uint N, uint D, uint flags) {
    y_TN += first;
    bias_N += first;
    __local float sums[TILE_T][GROUP];
    uint n = get_group_id(0), item = get_local_id(0);
    __global const half *w = w_ND + w_offset + (ulong)n * w_stride;
    float sum[TILE_T];
    for (uint t = 0; t < TILE_T; t++) sum[t] = 0.0f;
    for (uint d = item * 4; d < D; d += GROUP * 4) {
        if (d + 4 <= D) {
            float4 v = vload_half4(0, w + d);
            for (uint t = 0; t < TILE_T; t++) {
                if (t < T) sum[t] += dot(v, vload4(0, x_TD + (ulong)t * D + d));
            }
        } else {
            for (uint i = d; i < D; i++) {
                float v = vload_half(i, w);
                for (uint t = 0; t < TILE_T; t++) {
                    if (t < T) sum[t] = mad(v, x_TD[(ulong)t * D + i], sum[t]);
                }
            }
        }
    }
    for (uint t = 0; t < TILE_T; t++) sums[t][item] = sum[t];
    for (uint half_group = GROUP / 2; half_group > 0; half_group /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE); // the sums of the previous round are all written
        if (item < half_group) {
            for (uint t = 0; t < TILE_T; t++) sums[t][item] += sums[t][item + half_group];
        }
    }
    if (item == 0) {
        for (uint t = 0; t < T; t++) {
            __global float *y = y_TN + (ulong)t * y_stride + n;
            float value = sums[t][0];
            if (flags & BIAS) value += bias_N[n];
            if (flags & ACCUMULATE) value += *y;
            *y = value;
        }
    }
}
