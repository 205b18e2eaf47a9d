// y[t, n] = (accumulate ? y[t, n] : 0) + bias[n] + sum over d of x[t, d] * w[n, d]; many rows t, portable.
//
// w_ND    float16 in   [N, D], row n at w + w_offset + n * w_stride (elements); or blocks of FORMAT (bytes)
// x_TD    float32 in   [T, D], row t at x + t * D
// bias_N  float32 in   row n of w at first + n, read when flags & 2
// y_TN    float32 out  [T, y_stride], row n of w in column first + n; added to when flags & 1
// Global size (ITEMS_N * ceil(N / TILE_N), 8 * ceil(T / TILE_T)), local size (ITEMS_N, 8) with TILE_N = ITEMS_N * 8 and
// TILE_T = 8 * SIDE_T. Accumulator: float32.
// A work-group computes a TILE_T x TILE_N tile of y, an item SIDE_T x 8 of it in registers: 8 * SIDE_T multiply-adds
// for SIDE_T + 8 values from local memory. The tiles of x and w there are TILE_D deep, transposed, and double: the next
// ones come from global memory while these are multiplied; blocks become floats on the way.

#ifndef ITEMS_N
#define ITEMS_N 8 // work-items along n: 8, or 16 with SIDE_T 8
#endif
#ifndef SIDE_T
#define SIDE_T 8 // rows of y that an item computes: 4 or 8
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

#include "block_rows.cl"
#include "half_rows.cl"

#define ACCUMULATE 1
#define BIAS 2
#define ITEMS_T 8
#define TILE_D 16
#define SIDE_N 8
#define TILE_T (ITEMS_T * SIDE_T)
#define TILE_N (ITEMS_N * SIDE_N)
#define ITEMS (ITEMS_T * ITEMS_N)
#define LOADS_X (TILE_T * 2 / ITEMS) // groups of eight that an item fetches for a tile
#define LOADS_W (TILE_N * 2 / ITEMS)
#define PAD 4 // keeps rows 16-byte aligned, and the transposed stores in different banks
#if LOADS_X * ITEMS != TILE_T * 2 || LOADS_W * ITEMS != TILE_N * 2
#error "the items do not share the loads evenly"
#endif

#if FORMAT == F16 // groups of eight of a tile's w: halves by neighbouring items, blocks by one
#define W_ROW(i) ((item + (i) * ITEMS) / 2)
#define W_DEPTH(i) depth
#else
#define W_ROW(i) item
#define W_DEPTH(i) ((i) * 8)
#endif

#define READ4(tile, at) (*(__local const float4 *)&(tile)[at])
#define STORE_COLUMN(tile, at, stride, a)                                                        \
    (tile)[at] = (a).s0, (tile)[(at) + (stride)] = (a).s1, (tile)[(at) + 2 * (stride)] = (a).s2, \
    (tile)[(at) + 3 * (stride)] = (a).s3, (tile)[(at) + 4 * (stride)] = (a).s4,                  \
    (tile)[(at) + 5 * (stride)] = (a).s5, (tile)[(at) + 6 * (stride)] = (a).s6,                  \
    (tile)[(at) + 7 * (stride)] = (a).s7

__kernel void matmul_gemm(__global const Stored *w_ND, ulong w_offset, ulong w_stride,
                          __global const float *x_TD, __global const float *bias_N,
                          __global float *y_TN, ulong y_stride, uint first, uint T, uint N, uint D, uint flags) {
    y_TN += first;
    bias_N += first;
    __local float x_tiles[2 * TILE_D * (TILE_T + PAD)] __attribute__((aligned(16)));
    __local float w_tiles[2 * TILE_D * (TILE_N + PAD)] __attribute__((aligned(16)));
    uint column = get_local_id(0), row = get_local_id(1), item = row * ITEMS_N + column;
    uint n0 = get_group_id(0) * TILE_N, t0 = get_group_id(1) * TILE_T;
    __global const float *x_rows[LOADS_X]; // rows past the end repeat the last one
    __global const Stored *w_rows[LOADS_W];
    uint depth = item % 2 * 8;
    UNROLL for (uint i = 0; i < LOADS_X; i++)
        x_rows[i] = x_TD + (ulong)min(t0 + (item + i * ITEMS) / 2, T - 1) * D + depth;
    UNROLL for (uint i = 0; i < LOADS_W; i++)
        w_rows[i] = w_ND + w_offset + (ulong)min(n0 + W_ROW(i), N - 1) * w_stride;
    float8 x_next[LOADS_X], w_next[LOADS_W];
    float sums[SIDE_T][SIDE_N];
    UNROLL for (uint i = 0; i < SIDE_T; i++)
        UNROLL for (uint j = 0; j < SIDE_N; j++) sums[i][j] = 0.0f;

#if FORMAT == F16
#define FETCH_W(d0)                                                                                    \
    UNROLL for (uint i = 0; i < LOADS_W; i++) w_next[i] =                                              \
        load8_half_ending(w_rows[i] + (d0) + depth, (int)D - (int)((d0) + depth));
#else
#define FETCH_W(d0)                                       \
    {                                                     \
        Group group = load_group(w_rows[0], d0);          \
        w_next[0] = group.lo * group.scale + group.offset; \
        w_next[1] = group.hi * group.scale + group.offset; \
    }
#endif
#define FETCH(d0)                                                                                      \
    UNROLL for (uint i = 0; i < LOADS_X; i++) x_next[i] =                                   \
        load8_float_ending(x_rows[i] + (d0), (int)D - (int)((d0) + depth));                            \
    FETCH_W(d0)
#define KEEP(buffer)                                                                                   \
    UNROLL for (uint i = 0; i < LOADS_X; i++) STORE_COLUMN(                                 \
        x_tiles, ((buffer) * TILE_D + depth) * (TILE_T + PAD) + (item + i * ITEMS) / 2, TILE_T + PAD, x_next[i]); \
    UNROLL for (uint i = 0; i < LOADS_W; i++) STORE_COLUMN(                                 \
        w_tiles, ((buffer) * TILE_D + W_DEPTH(i)) * (TILE_N + PAD) + W_ROW(i), TILE_N + PAD, w_next[i]);

    FETCH(0)
    KEEP(0)
    barrier(CLK_LOCAL_MEM_FENCE); // the first tiles are written before they are read
    uint tiles = (D + TILE_D - 1) / TILE_D;
    for (uint tile = 0; tile < tiles; tile++) {
        if (tile + 1 < tiles) {
            FETCH((tile + 1) * TILE_D)
        }
        for (uint k = 0; k < TILE_D; k++) {
            uint x_at = (tile % 2 * TILE_D + k) * (TILE_T + PAD) + row * 4;
            uint w_at = (tile % 2 * TILE_D + k) * (TILE_N + PAD) + column * 4;
            float x[SIDE_T], w[SIDE_N];
            UNROLL for (uint i = 0; i < SIDE_T; i += 4) vstore4(READ4(x_tiles, x_at + i * ITEMS_T), 0, x + i);
            UNROLL for (uint j = 0; j < SIDE_N; j += 4) vstore4(READ4(w_tiles, w_at + j * ITEMS_N), 0, w + j);
            UNROLL for (uint i = 0; i < SIDE_T; i++)
                UNROLL for (uint j = 0; j < SIDE_N; j++) sums[i][j] = mad(x[i], w[j], sums[i][j]);
        }
        if (tile + 1 < tiles) {
            KEEP((tile + 1) % 2)
        }
        barrier(CLK_LOCAL_MEM_FENCE); // the next tiles are written before they are read, these read before others replace them
    }
    UNROLL for (uint i = 0; i < SIDE_T; i++) {
        UNROLL for (uint j = 0; j < SIDE_N; j++) {
            uint t = t0 + i / 4 * (ITEMS_T * 4) + row * 4 + i % 4, n = n0 + j / 4 * (ITEMS_N * 4) + column * 4 + j % 4;
            if (t < T && n < N) {
                __global float *y = y_TN + (ulong)t * y_stride + n;
                float value = sums[i][j];
                if (flags & BIAS) value += bias_N[n];
                if (flags & ACCUMULATE) value += *y;
                *y = value;
            }
        }
    }
}
