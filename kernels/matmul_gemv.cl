// y[t, n] = (accumulate ? y[t, n] : 0) + bias[n] + sum over d of x[t, d] * w[n, d]; a few rows t, portable.
//
// w_ND    float16 in   [N, D], row n at w + w_offset + n * w_stride (elements); or blocks of FORMAT (bytes)
// x_TD    float32 in   [T, D], row t at x + t * D; T <= TILE_T
// bias_N  float32 in   row n of w at first + n, read when flags & 2
// y_TN    float32 out  [T, y_stride], row n of w in column first + n; added to when flags & 1
// Global size (GROUP * ceil(N / ROWS)), local size (GROUP). Accumulator: float32.
// A work-group computes ROWS rows of w. Its items read neighbouring groups of eight weights, 16 bytes of each row, so
// that 16 * ROWS bytes of each item are in flight together, and x is read once for ROWS rows; every weight is read once
// whatever T is. Of blocks an item takes sixteen weights, whose scale and offset meet the sums of sixteen products and of
// sixteen elements of x. At the end the items' sums are added up across the group.

#ifndef GROUP
#define GROUP 64 // work-items: a power of two, 8 to 256, as the device allows
#endif
#ifndef ROWS
#define ROWS 4 // rows of w: 1 to 8
#endif
#ifndef TILE_T
#define TILE_T 1 // most rows of x: 1 to 8; the sums take (GROUP + 8) * ROWS * TILE_T floats of local memory
#endif
#ifndef FORMAT
#define FORMAT F16 // of the weights; block_rows.cl names the others, whose D is a multiple of 32
#endif
#ifndef ALIGNED
#define ALIGNED 0 // 1: D and, of halves, w_offset and w_stride are multiples of 8
#endif
#ifndef WORDS
#define WORDS 0 // 1: blocks begin at multiples of four bytes
#endif
#ifndef REDUCE
#define REDUCE 0 // the group's sums: 0 by local memory, 1 by subgroups, 2 by NVIDIA's warp shuffles
#endif

#include "block_rows.cl"
#include "half_rows.cl"
#if REDUCE == 1
#ifdef cl_intel_subgroups
#pragma OPENCL EXTENSION cl_intel_subgroups : enable
#else
#pragma OPENCL EXTENSION cl_khr_subgroups : enable
#endif
#endif
#if REDUCE == 2
#include "ptx_shuffle.cl"
#endif

#define ACCUMULATE 1
#define BIAS 2
#define SUMS (ROWS * TILE_T)
#define READ8(type, p, count) (ALIGNED ? load8_##type(p) : load8_##type##_ending(p, (int)(count)))
#define PARTS 8 // partial sums of a sum that local memory holds

__kernel void matmul_gemv(__global const Stored *w_ND, ulong w_offset, ulong w_stride,
                          __global const float *x_TD, __global const float *bias_N,
                          __global float *y_TN, ulong y_stride, uint first, uint T, uint N, uint D, uint flags) {
    y_TN += first;
    bias_N += first;
    uint n0 = get_group_id(0) * ROWS, item = get_local_id(0);
    __global const Stored *w[ROWS];
    UNROLL for (uint r = 0; r < ROWS; r++) // rows past the end repeat the last one
        w[r] = w_ND + w_offset + (ulong)min(n0 + r, N - 1) * w_stride;
    float sum[SUMS];
    UNROLL for (uint i = 0; i < SUMS; i++) sum[i] = 0.0f;
#if FORMAT == F16
    for (uint d = item * 8; d < D; d += GROUP * 8) {
        float8 weights[ROWS];
        UNROLL for (uint r = 0; r < ROWS; r++) weights[r] = READ8(half, w[r] + d, D - d);
        UNROLL for (uint t = 0; t < TILE_T; t++) { // rows past the end repeat the last one
            float8 x = READ8(float, x_TD + (ulong)min(t, T - 1) * D + d, D - d);
            UNROLL for (uint r = 0; r < ROWS; r++) sum[t * ROWS + r] = dot8(weights[r], x, sum[t * ROWS + r]);
        }
    }
#else
    for (uint d = item * 16; d < D; d += GROUP * 16) {
        Group weights[ROWS];
        UNROLL for (uint r = 0; r < ROWS; r++) weights[r] = load_group(w[r], d);
        UNROLL for (uint t = 0; t < TILE_T; t++) {
            __global const float *x = x_TD + (ulong)min(t, T - 1) * D + d;
            float8 lo = load8_float(x), hi = load8_float(x + 8), both = lo + hi;
            float4 four = both.lo + both.hi;
            float total = four.x + four.y + (four.z + four.w);
            UNROLL for (uint r = 0; r < ROWS; r++) {
                float products = dot8(weights[r].hi, hi, dot8(weights[r].lo, lo, 0.0f));
                float *own = sum + t * ROWS + r;
                *own = mad(weights[r].scale, products, *own);
                if (OFFSETS) *own = mad(weights[r].offset, total, *own);
            }
        }
    }
#endif
    __local float parts[SUMS][PARTS];
#if REDUCE == 0
    __local float sums[SUMS][GROUP];
    UNROLL for (uint i = 0; i < SUMS; i++) sums[i][item] = sum[i];
    barrier(CLK_LOCAL_MEM_FENCE); // the items' sums are written before others add them up
    for (uint i = item; i < SUMS * PARTS; i += GROUP) {
        float part = 0.0f;
        for (uint j = i % PARTS; j < GROUP; j += PARTS) part += sums[i / PARTS][j];
        parts[i / PARTS][i % PARTS] = part;
    }
    uint count = PARTS;
#elif REDUCE == 1
    uint count = get_num_sub_groups();
    UNROLL for (uint i = 0; i < SUMS; i++) {
        float part = sub_group_reduce_add(sum[i]);
        if (get_sub_group_local_id() == 0) parts[i][get_sub_group_id()] = part;
    }
#else
    uint count = (GROUP + 31) / 32;
    UNROLL for (uint i = 0; i < SUMS; i++) {
        float part = warp_sum(sum[i]);
        if (item % 32 == 0) parts[i][item / 32] = part;
    }
#endif
    barrier(CLK_LOCAL_MEM_FENCE); // the partial sums are written before they are read
    for (uint i = item; i < SUMS; i += GROUP) {
        uint t = i / ROWS, n = n0 + i % ROWS;
        if (t >= T || n >= N) continue;
        float value = 0.0f;
        for (uint j = 0; j < count; j++) value += parts[i][j];
        __global float *y = y_TN + (ulong)t * y_stride + n;
        if (flags & BIAS) value += bias_N[n];
        if (flags & ACCUMULATE) value += *y;
        *y = value;
    }
}
