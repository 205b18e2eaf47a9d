// y[t, n] = (accumulate ? y[t, n] : 0) + bias[n] + sum over d of x[t, d] * w[n, d]; on Intel AMX, CPU family.
//
// pack_amx:   x_TD    float32 in   [T, D], row t at x + t * D
//             x_tiles uint    out  [ceil(T / 32), ceil(D / 32), PACKED, 2, 16, 16]: tiles of 16 rows t by 16 pairs of
//                                  bfloat16 (d, d + 16), lower parts before higher; zero where t or d is past the end
//             global size (ceil(T / 32), ceil(D / 256)), local size (1, 1)
// matmul_amx: w_ND    float16 in   [N, D], row n at w + w_offset + n * w_stride (elements)
//             x_tiles uint    in   as packed
//             bias_N  float32 in   row n of w at first + n, read when flags & 2
//             y_TN    float32 out  [T, y_stride], row n of w in column first + n; added to when flags & 1
//             global size (ceil(N / (32 * blocks_per_item)), ceil(T / tokens_per_item)), local size (1, 1);
//             blocks_per_item <= BLOCKS, tokens_per_item a multiple of 32 and <= TOKENS
//
// Values and weights are split into bfloat16 parts, as amx.cl says. Accumulator: float32.
//
// A work-item walks over blocks of 32 rows of w by TILE_D columns, each against all of its tokens: 32 tokens by 32
// rows are four accumulators. For a step of 32 columns, the unit takes 16 cycles for a product of tiles, and a tile's
// load from the first-level cache takes 8 on other ports:
//   PARTS 1:  4 products,  64 cycles;  4 loads, 32 cycles; 2 KiB of weights and 2 KiB of values
//   PARTS 2: 12 products, 192 cycles;  8 loads, 64 cycles; 4 KiB and 4 KiB
//   PARTS 3: 20 products, 320 cycles; 12 loads, 96 cycles; 4 KiB and 6 KiB
// A block of weights (32 KiB in two parts) is meant to stay in the first-level cache, values and sums of all tokens in the
// second: TOKENS * TILE_D * 2 * PARTS bytes, at most 768 KiB, and TOKENS * BLOCKS * 128 bytes = 256 KiB. While a block is
// multiplied, the vector units widen, split and transpose the next one, a piece between two steps, so that both units
// work at once, and the one after it is fetched ahead; an item reads and converts each weight once. With few tokens that
// is all there is to do: a step then reads 2 KiB of w, and memory bounds the speed.

#ifndef PARTS
#define PARTS 2 // bfloat16 numbers a value of x is split into, and how exact the product is; 1, 2 or 3
#endif
#ifndef PACKED
#define PACKED PARTS // how many of them are in x_tiles; at least PARTS
#endif
#ifndef TILE_D
#define TILE_D 256 // depth of a block of weights; a multiple of 256
#endif
#ifndef TOKENS
#define TOKENS 512 // most tokens of a work-item
#endif
#ifndef BLOCKS
#define BLOCKS 4 // most blocks of 32 rows of w of a work-item
#endif

#define ACCUMULATE 1
#define BIAS 2

#include "amx.cl"
#include "float16.cl"

#define X_STEP (2 * PACKED * TILE)  // words of x in a step
#define W_STEP (2 * W_PARTS * TILE) // words of weights in a step
#define PIECES (2 + W_PARTS)        // of the conversion of a tile of weights

__kernel void pack_amx(__global const float *x_TD, __global uint *x_tiles, uint T, uint D) {
    uint t0 = get_global_id(0) * 32, d0 = get_global_id(1) * 256, d_end = min(d0 + 256, D);
    uint steps = (D + 31) / 32;
    for (uint d = d0; d < d_end; d += 32) {
        __global uint *out = x_tiles + ((ulong)(t0 / 32) * steps + d / 32) * X_STEP;
        for (uint m = 0; m < 32; m++) {
            float16 a = 0.0f, b = 0.0f;
            if (t0 + m < T) {
                __global const float *x = x_TD + (ulong)(t0 + m) * D + d;
                a = load16_float(x, D - d);
                if (D - d > 16) b = load16_float(x + 16, D - d - 16);
            }
            for (uint part = PACKED; part-- > 0;) vstore16(split_pairs(&a, &b), 0, out + part * 2 * TILE + m * 16);
        }
    }
}

// A block of weights on its way into tiles.
typedef struct {
    __global const half *w;     // its first row and column
    __global const half *ahead; // those of the block that is fetched ahead
    float16 *tiles;             // [TILE_D / 32, W_PARTS, 2, 16]: the higher part first
    uint rows, columns;         // of w from there on
    uint pieces, next;          // pieces of work, and how many of them are done
} Block;

inline void fetch_ahead(__global const half *w) { __asm__ volatile("prefetcht1 (%0)" ::"r"(w) : "memory"); }

// One piece of the conversion: eight rows of a tile split into pairs (twice), or one part of it transposed.
inline void convert_piece(Block *block, ulong w_stride, float16 *stage) {
    uint tile = block->next / PIECES, piece = block->next % PIECES;
    block->next++;
    if (piece < 2) {
        uint row = tile % 2 * 16 + piece * 8, last = block->rows - 1, d = tile / 2 * 32, columns = block->columns - d;
        __global const half *w = block->w + d;
        if (row + 7 <= last && columns >= 32) {
            w += row * w_stride;
#pragma unroll
            for (uint i = 0; i < 8; i++) {
                float16 a = vload_half16(0, w), b = vload_half16(1, w);
                stage[piece * 8 + i] = as_float16(split_pairs(&a, &b));
                // What is left has three bits: nothing to round.
                if (W_PARTS > 1) stage[16 + piece * 8 + i] = as_float16(as_uint16(a) >> 16 | as_uint16(b));
                w += w_stride;
            }
        } else {
            for (uint i = 0; i < 8; i++) {
                __global const half *v = w + min(row + i, last) * w_stride;
                float16 a = load16_half(v, columns), b = 0.0f;
                if (columns > 16) b = load16_half(v + 16, columns - 16);
                for (uint part = 0; part < W_PARTS; part++)
                    stage[part * 16 + piece * 8 + i] = as_float16(split_pairs(&a, &b));
            }
        }
        uint line = (tile * 2 + piece) * 8; // of 32 weights; the lines of a row follow each other
        __global const half *ahead = block->ahead + line / (TILE_D / 32) * w_stride + line % (TILE_D / 32) * 32;
#pragma unroll
        for (uint i = 0; i < 8; i++) fetch_ahead(ahead + i * 32);
    } else {
        const float16 *in = stage + (piece - 2) * 16;
        float16 *out = block->tiles + tile / 2 * (W_STEP / 16) + (piece - 2) * 32 + tile % 2 * 16;
#define LOAD_ROW(i) float16 a##i = in[i];
        REPEAT16(LOAD_ROW)
        SHUFFLE(a, b) SHUFFLE(b, c) SHUFFLE(c, d) SHUFFLE(d, e)
#define STORE_ROW(i) out[i] = e##i;
        REPEAT16(STORE_ROW)
    }
}

// What the sums of 32 tokens by 32 rows of w begin with, where tiles cannot take it from y or the bias as it is.
inline void gather_sums(float *sums, __global const float *y, __global const float *bias_N, ulong y_stride, uint tokens,
                        uint rows, uint flags) {
    for (uint t = 0; t < 32; t++) {
        for (uint n = 0; n < 32; n += 16) {
            float16 v = 0.0f;
            if (t < tokens && n < rows) {
                if (flags & BIAS) v = load16_float(bias_N + n, rows - n);
                if (flags & ACCUMULATE) v += load16_float(y + t * y_stride + n, rows - n);
            }
            vstore16(v, 0, sums + t * 32 + n);
        }
    }
}

inline void scatter_sums(const float *sums, __global float *y, ulong y_stride, uint tokens, uint rows) {
    for (uint t = 0; t < min(tokens, 32u); t++)
        for (uint n = 0; n < min(rows, 32u); n += 16)
            store16_float(vload16(0, sums + t * 32 + n), y + t * y_stride + n, rows - n);
}

__kernel void matmul_amx(__global const half *w_ND, ulong w_offset, ulong w_stride, __global const uint *x_tiles,
                         __global const float *bias_N, __global float *y_TN, ulong y_stride, uint first, uint T, uint N,
                         uint D, uint blocks_per_item, uint tokens_per_item, uint flags) {
    uint n_begin = get_global_id(0) * blocks_per_item * 32, t_begin = get_global_id(1) * tokens_per_item;
    uint tokens = min(tokens_per_item, T - t_begin), rows = min(blocks_per_item * 32, N - n_begin);
    uint groups = (tokens + 31) / 32, blocks_N = (rows + 31) / 32;
    uint steps_D = (D + 31) / 32, blocks_D = (D + TILE_D - 1) / TILE_D;
    w_ND += w_offset + n_begin * w_stride;
    x_tiles += (ulong)(t_begin / 32) * steps_D * X_STEP + (PACKED - PARTS) * 2 * TILE;
    y_TN += t_begin * y_stride + first + n_begin;
    bias_N += first + n_begin;
    // Few tokens: whole rows of w one after the other, and one group's sums stay in the tiles. Many: all rows of the item
    // at one depth, so that the values of that depth stay in the cache.
    bool rows_outer = groups <= 2;
    uint inner = rows_outer ? blocks_D : blocks_N, blocks = blocks_N * blocks_D;

    float16 tiles[2][TILE_D / 32 * W_STEP / 16];
    float sums[TOKENS / 32 * BLOCKS * 4 * TILE] __attribute__((aligned(64)));
    float edge[4 * TILE] __attribute__((aligned(64)));
    float16 stage[W_PARTS * 16];
    configure();
    uint n = 0, d = 0; // the block that is multiplied
    Block coming;
    for (uint b = 0; b <= blocks; b++) {
        // Round b multiplies block b - 1, converts block b and fetches block b + 1.
        uint last = blocks - 1, i = min(b, last), j = min(b + 1, last);
        uint coming_n = (rows_outer ? i / inner : i % inner) * 32;
        uint coming_d = (rows_outer ? i % inner : i / inner) * TILE_D;
        uint ahead_n = (rows_outer ? j / inner : j % inner) * 32, ahead_d = (rows_outer ? j % inner : j / inner) * TILE_D;
        coming.w = w_ND + coming_n * w_stride + coming_d;
        coming.ahead = w_ND + ahead_n * w_stride + ahead_d;
        coming.tiles = tiles[b % 2];
        coming.rows = rows - coming_n;
        coming.columns = D - coming_d;
        coming.pieces = b == blocks ? 0 : (min((uint)TILE_D, coming.columns) + 31) / 32 * 2 * PIECES;
        coming.next = 0;
        if (b > 0) {
            uint steps = (min((uint)TILE_D, D - d) + 31) / 32, due = 0;
            bool begins = d == 0, ends = d + TILE_D >= D, stays = groups == 1;
            for (uint g = 0; g < groups; g++) {
                float *own = sums + ((rows_outer ? 0 : n / 32 * groups) + g) * 4 * TILE;
                __global float *y = y_TN + g * 32 * y_stride + n;
                bool whole = g * 32 + 32 <= tokens && n + 32 <= rows;
                if (!begins) {
                    if (!stays) LOAD_SUMS(own, own + 2 * TILE, 128);
                } else if (!flags) {
                    zero_sums();
                } else if (whole && flags == ACCUMULATE) {
                    LOAD_SUMS(y, y + 16 * y_stride, y_stride * 4);
                } else if (whole && flags == BIAS) {
                    LOAD_SUMS(bias_N + n, bias_N + n, 0);
                } else {
                    gather_sums(edge, y, bias_N + n, y_stride, tokens - g * 32, rows - n, flags);
                    LOAD_SUMS(edge, edge + 2 * TILE, 128);
                }
                __global const uint *x = x_tiles + ((ulong)g * steps_D + d / 32) * X_STEP;
                const float16 *w = tiles[(b - 1) % 2];
                for (uint k = 0; k < steps; k++) {
                    MULTIPLY_STEP(x, w);
                    x += X_STEP;
                    w += W_STEP / 16;
                    for (due += coming.pieces; due >= groups * steps; due -= groups * steps)
                        convert_piece(&coming, w_stride, stage);
                }
                if (!ends) {
                    if (!stays) STORE_SUMS(own, own + 2 * TILE, 128);
                } else if (whole) {
                    STORE_SUMS(y, y + 16 * y_stride, y_stride * 4);
                } else {
                    STORE_SUMS(edge, edge + 2 * TILE, 128);
                    scatter_sums(edge, y, y_stride, tokens - g * 32, rows - n);
                }
            }
        }
        while (coming.next < coming.pieces) convert_piece(&coming, w_stride, stage);
        n = coming_n;
        d = coming_d;
    }
    release();
}
