// y[t, n] = (accumulate ? y[t, n] : 0) + bias[n] + sum over d of x[t, d] * w[n, d]; many rows t, portable.
//
// w_ND    float16 in   [N, D], row n at w + w_offset + n * w_stride (elements)
// x_TD    float32 in   [T, D], row t at x + t * D
// bias_N  float32 in   row n of w at first + n, read when flags & 2
// y_TN    float32 out  [T, y_stride], row n of w in column first + n; added to when flags & 1
// Global size (8 * ceil(N / 32), 8 * ceil(T / 32)), local size (8, 8). Accumulator: float32.
// A work-group computes a 32 x 32 tile of y from tiles of x and w in local memory, an item 4 x 4 of it.

#ifndef TILE_D
#define TILE_D 16 // depth of the tiles in local memory
#endif

#define TILE 32
#define ITEMS 8 // work-items a side
#define SIDE (TILE / ITEMS)
#define ACCUMULATE 1
#define BIAS 2

__kernel void matmul_gemm(__global const half *w_ND, ulong w_offset, ulong w_stride,
                          __global const float *x_TD, __global const float *bias_N,
                          __global float *y_TN, ulong y_stride, uint first, uint T, uint N, uint D, uint flags) {
    y_TN += first;
    bias_N += first;
    __local float x_tile[TILE_D][TILE + 1], w_tile[TILE_D][TILE + 1];
    uint column = get_local_id(0), row = get_local_id(1), item = row * ITEMS + column;
    uint n0 = get_group_id(0) * TILE, t0 = get_group_id(1) * TILE;
    __global const half *w = w_ND + w_offset;
    float sums[SIDE][SIDE];
    for (uint i = 0; i < SIDE; i++)
        for (uint j = 0; j < SIDE; j++) sums[i][j] = 0.0f;
    for (uint d0 = 0; d0 < D; d0 += TILE_D) {
        for (uint i = item; i < TILE * TILE_D; i += ITEMS * ITEMS) {
            uint r = i / TILE_D, k = i % TILE_D, d = d0 + k, t = t0 + r, n = n0 + r;
            x_tile[k][r] = d < D && t < T ? x_TD[(ulong)t * D + d] : 0.0f;
            w_tile[k][r] = d < D && n < N ? vload_half((ulong)n * w_stride + d, w) : 0.0f;
        }
        barrier(CLK_LOCAL_MEM_FENCE); // the tiles are written before they are read
        for (uint k = 0; k < TILE_D; k++) {
            float x[SIDE], v[SIDE];
            for (uint i = 0; i < SIDE; i++) {
                x[i] = x_tile[k][row + i * ITEMS];
                v[i] = w_tile[k][column + i * ITEMS];
            }
            for (uint i = 0; i < SIDE; i++)
                for (uint j = 0; j < SIDE; j++) sums[i][j] = mad(x[i], v[j], sums[i][j]);
        }
        barrier(CLK_LOCAL_MEM_FENCE); // the tiles are read before they are written again
    }
    for (uint i = 0; i < SIDE; i++) {
        for (uint j = 0; j < SIDE; j++) {
            uint t = t0 + row + i * ITEMS, n = n0 + column + j * ITEMS;
            if (t >= T || n >= N) continue;
            __global float *y = y_TN + (ulong)t * y_stride + n;
            float value = sums[i][j];
            if (flags & BIAS) value += bias_N[n];
            if (flags & ACCUMULATE) value += *y;
            *y = value;
        }
    }
}
