// out[t, h] = softmax over s of (q[t, h] . k[s, g] * scale) times v[s, g], g = h / (H / G); several tokens, on NVIDIA's
// tensor cores. Token t at position p sees positions s <= p, and only s > p - window when window > 0.
//
// q_THK         float32 in   [T, H, K]
// k_cache, v_cache  float16 in   [blocks, G, BLOCK, K]
// block_tables  int32 in     [sequences, table_stride]: the physical blocks of each sequence in order of position
// work          int32 in     [tiles, 5]: first token in the batch, its position, sequence, first row, number of rows;
//                            row r of a sequence's H / G query heads a token: token r / (H / G), head r % (H / G)
// out_THK       float32 out  [T, H, K]; may not be q
// Global size (128 * tiles, G), local size (128, 1).
// A work-group holds up to 64 rows, a warp 16 of them: queries, running softmax (Milakov and Gimelshein, 2018) and sums
// stay in registers, and the scores become the operand that meets the values where they are (Dao, 2023). Keys and values
// go through local memory a block at a time, 4 * BLOCK * (K + 8) bytes; one is multiplied while the other is under way.
// Rows there are padded by 16 bytes, so that the eight of a matrix lie in different banks.
// A row's queries are scaled by a power of two that brings the largest to 2^14, its softmax by 2^15. Two float16 parts
// hold 22 bits of them, one part 11. Accumulator: float32. The unit truncates each sum, where it should round (Ootomo and
// Yokota, 2022): with PARTS 2 its chains are K columns of a part, or the positions of a block, and float32 additions that
// round go on.

#ifndef K
#define K 64 // head width: a multiple of 16, at most 256
#endif
#ifndef BLOCK
#define BLOCK 32 // positions in a block of the cache: a multiple of 16
#endif
#ifndef PARTS
#define PARTS 1 // float16 numbers that stand for a query's value or a weight: 1 or 2
#endif

#define THREADS 128
#include "half_rows.cl"
#include "mma.cl"

#define CHUNKS (K / 8) // of 16 bytes in a row of keys or values
#define PLACE(row, chunk) ((row) * (CHUNKS + 1) + (chunk))
#define VALUES PLACE(BLOCK, 0)
#define COPIED (THREADS / CHUNKS) // rows that the items copy together
#define STEPS (K / 16)
#define LARGEST 15.0f // logarithm to base 2 of the largest weight
#if K > 128 // queries do not fit into the registers beside the sums, and are read and rounded for each step
#define HELD 1
#define SPAN BLOCK // keys that are scored together
#define UNROLL_STEPS _Pragma("unroll 1")
#else
#define HELD STEPS
#define SPAN 16
#define UNROLL_STEPS UNROLL
#endif

// x and y as PARTS pairs of halves, element i of a fragment each.
inline void split(float x, float y, uint i, uint fragments[PARTS][4]) {
    UNROLL for (uint part = 0; part < PARTS; part++) {
        fragments[part][i] = round_halves(x, y);
        float2 held = halves_of(fragments[part][i]);
        x -= held.x, y -= held.y;
    }
}

// Columns 16 * step to + 15 of the queries: the item's rows are at low and high, from its first column on.
inline void split_queries(__global const float *low, __global const float *high, float low_scale, float high_scale,
                          uint step, uint fragments[PARTS][4]) {
    UNROLL for (uint i = 0; i < 4; i++) {
        float2 x = *(__global const float2 *)((i % 2 ? high : low) + step * 16 + i / 2 * 8);
        x *= i % 2 ? high_scale : low_scale;
        split(x.x, x.y, i, fragments);
    }
}

// Starts the copies of positions s0 to s0 + BLOCK - 1 to local memory; zeros past the last one, where NaN may lie.
#define FETCH(to, cache, s0)                                                                                   \
    {                                                                                                          \
        ulong block = table[(s0) / BLOCK];                                                                     \
        __global const uint4 *from = (__global const uint4 *)((cache) + (block * G + g) * BLOCK * K) + item;   \
        UNROLL for (uint i = 0; i < BLOCK; i += COPIED) {                                                      \
            if (item < COPIED * CHUNKS && i + copy_row < BLOCK)                                                \
                COPY_ASYNC(copy_to + (to) + PLACE(i, 0), from + i * CHUNKS, (s0) + i + copy_row <= last)       \
        }                                                                                                      \
        COPY_COMMIT()                                                                                          \
    }

// x of an item becomes that of the four items that share its rows.
#define COMBINE(x, operation)        \
    {                                \
        float other;                 \
        SHUFFLE_XOR(other, x, 1)     \
        x = operation(x, other);     \
        SHUFFLE_XOR(other, x, 2)     \
        x = operation(x, other);     \
    }
#define ADD(x, y) ((x) + (y))

__kernel void attention_mma(__global const float *q_THK, __global const half *k_cache, __global const half *v_cache,
                            __global const int *block_tables, __global const int *work, __global float *out_THK,
                            uint H, uint G, uint table_stride, uint window, float scale) {
    __local uint4 tiles[2 * VALUES];
    MMA_LOCAL
    uint item = get_local_id(0), lane = item % 32, warp = item / 32, pair = lane % 4;
    uint g = get_group_id(1), heads = H / G;
    __global const int *tile = work + (get_num_groups(0) - 1 - get_group_id(0)) * 5; // the last ones meet most keys
    uint token = tile[0], position = tile[1], row0 = tile[3], rows = tile[4];
    __global const int *table = block_tables + (ulong)tile[2] * table_stride;
    uint first = position + row0 / heads, last = position + (row0 + rows - 1) / heads;
    uint begin = (window > 0 ? max((int)(first + 1) - (int)window, 0) : 0) / BLOCK * BLOCK;
    // What an item copies, and the rows of matrices that it addresses, lie at constant distances from the first ones.
    uint copy_row = item / CHUNKS;
    __local uint4 *copy_to = tiles + PLACE(copy_row, item % CHUNKS);
    __local const uint4 *keys = tiles + PLACE(lane / 16 * 8 + lane % 8, lane / 8 % 2);
    __local const uint4 *values = tiles + VALUES + PLACE(lane % 16, lane / 16);
    FETCH(0, k_cache, begin)

    // The item's two rows: what they see, where they are in queries and output, their scales.
    uint positions[2], heads_at[2];
    __global const float *queries[2];
    float scales[2], factors[2];
    UNROLL for (uint i = 0; i < 2; i++) {
        uint row = row0 + min(warp * 16 + i * 8 + lane / 4, rows - 1); // rows past the end repeat the last one
        positions[i] = position + row / heads;
        heads_at[i] = (token + row / heads) * H + g * heads + row % heads;
        queries[i] = q_THK + (ulong)heads_at[i] * K + pair * 2;
        float most = 0.0f;
        for (uint k = 0; k < K; k += 8) most = fmax(most, fmax(fabs(queries[i][k]), fabs(queries[i][k + 1])));
        COMBINE(most, fmax)
        int exponent = most > 0.0f ? clamp(ilogb(most), -100, 126) - 14 : 0;
        scales[i] = ldexp(1.0f, -exponent);
        factors[i] = ldexp(scale * M_LOG2E_F, exponent);
    }
    uint q[HELD][PARTS][4];
#if K <= 128
    UNROLL for (uint step = 0; step < STEPS; step++)
        split_queries(queries[0], queries[1], scales[0], scales[1], step, q[step]);
#endif
    float sums[CHUNKS][4], tops[2] = {-FLT_MAX, -FLT_MAX}, totals[2] = {0.0f, 0.0f};
    UNROLL for (uint j = 0; j < CHUNKS; j++)
        UNROLL for (uint l = 0; l < 4; l++) sums[j][l] = 0.0f;

    for (uint s0 = begin; s0 <= last; s0 += BLOCK) {
        COPY_WAIT(0)
        barrier(CLK_LOCAL_MEM_FENCE); // all items' copies of the keys are here; all have read the previous values
        FETCH(VALUES, v_cache, s0)
        float scores[BLOCK / 8][4];
        UNROLL for (uint n = 0; n < BLOCK; n += SPAN) {
            float chains[SPAN / 8][PARTS][4];
            UNROLL for (uint j = 0; j < SPAN / 8; j++)
                UNROLL for (uint part = 0; part < PARTS; part++)
                    UNROLL for (uint l = 0; l < 4; l++) chains[j][part][l] = 0.0f;
            UNROLL_STEPS for (uint step = 0; step < STEPS; step++) {
#if K > 128
                split_queries(queries[0], queries[1], scales[0], scales[1], step, q[0]);
#endif
                UNROLL for (uint j = 0; j < SPAN / 8; j += 2) {
                    uint b[4];
                    LDMATRIX_X4(b, keys + PLACE(n + j * 8, step * 2))
                    UNROLL for (uint part = 0; part < PARTS; part++) {
                        MMA_16816(chains[j][part], q[step % HELD][part], b)
                        MMA_16816(chains[j + 1][part], q[step % HELD][part], b + 2)
                    }
                }
            }
            UNROLL for (uint j = 0; j < SPAN / 8; j++) {
                UNROLL for (uint l = 0; l < 4; l++) {
                    float score = chains[j][0][l];
#if PARTS == 2
                    score += chains[j][1][l];
#endif
                    scores[n / 8 + j][l] = score;
                }
            }
        }
        if (s0 + BLOCK > first + 1 || (window > 0 && s0 + window <= last)) { // some row does not see all of the keys
            UNROLL for (uint j = 0; j < BLOCK / 8; j++) {
                UNROLL for (uint l = 0; l < 4; l++) {
                    uint s = s0 + j * 8 + pair * 2 + l % 2, p = positions[l / 2];
                    if (s > p || (window > 0 && s + window <= p)) scores[j][l] = -INFINITY;
                }
            }
        }
        float rescale[2];
        UNROLL for (uint i = 0; i < 2; i++) {
            float top = -INFINITY;
            UNROLL for (uint j = 0; j < BLOCK / 8; j++) top = fmax(top, fmax(scores[j][i * 2], scores[j][i * 2 + 1]));
            COMBINE(top, fmax)
            top = fmax(tops[i], top * factors[i]);
            rescale[i] = exp2_near(tops[i] - top);
            totals[i] *= rescale[i];
            tops[i] = top;
        }
        uint weights[BLOCK / 16][PARTS][4];
        UNROLL for (uint n = 0; n < BLOCK / 16; n++) {
            UNROLL for (uint i = 0; i < 4; i++) {
                float offset = LARGEST - tops[i % 2];
                float x = exp2_near(fma(scores[n * 2 + i / 2][i % 2 * 2], factors[i % 2], offset));
                float y = exp2_near(fma(scores[n * 2 + i / 2][i % 2 * 2 + 1], factors[i % 2], offset));
                totals[i % 2] += x + y;
                split(x, y, i, weights[n]);
            }
        }
        COPY_WAIT(0)
        barrier(CLK_LOCAL_MEM_FENCE); // all items' copies of the values are here; all have read the keys
        if (s0 + BLOCK <= last) FETCH(0, k_cache, s0 + BLOCK)
        UNROLL for (uint j = 0; j < CHUNKS; j += 2) {
            if (j % 4 == 0) { WARP_SYNC() } // the compiler is not to start all chains first: registers
            float chains[2][4];
            UNROLL for (uint i = 0; i < 2; i++)
                UNROLL for (uint l = 0; l < 4; l++) chains[i][l] = PARTS == 1 ? sums[j + i][l] * rescale[l / 2] : 0.0f;
            UNROLL for (uint n = 0; n < BLOCK / 16; n++) {
                uint b[4];
                LDMATRIX_X4_TRANS(b, values + PLACE(n * 16, j))
                UNROLL for (uint part = 0; part < PARTS; part++) {
                    MMA_16816(chains[0], weights[n][part], b)
                    MMA_16816(chains[1], weights[n][part], b + 2)
                }
            }
            UNROLL for (uint i = 0; i < 2; i++)
                UNROLL for (uint l = 0; l < 4; l++)
                    sums[j + i][l] = PARTS == 1 ? chains[i][l] : fma(sums[j + i][l], rescale[l / 2], chains[i][l]);
        }
    }

    UNROLL for (uint i = 0; i < 2; i++) {
        COMBINE(totals[i], ADD)
        if (warp * 16 + i * 8 + lane / 4 < rows) {
            __global float *out = out_THK + (ulong)heads_at[i] * K + pair * 2;
            float share = 1.0f / totals[i];
            UNROLL for (uint j = 0; j < CHUNKS; j++)
                *(__global float2 *)(out + j * 8) = (float2)(sums[j][i * 2], sums[j][i * 2 + 1]) * share;
        }
    }
}
