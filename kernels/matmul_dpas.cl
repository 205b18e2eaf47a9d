// y[t, n] = (accumulate ? y[t, n] : 0) + bias[n] + sum over d of x[t, d] * w[n, d] on the matrix engines of Intel's GPUs.
//
// w_ND     float16 in   [N, D], row n at w + w_offset + n * w_stride (elements)
// x_TE     float16 in   of pack_halves.cl: float16 [ceil(T / SUBGROUP), PARTS, D_padded / 2, SUBGROUP, 2], which is a pair
//                       of columns of all rows of a tile side by side, D_padded = 32 * ceil(D / 32); then the inverse
//                       scales, float32 [T]
// bias_N   float32 in   row n of w at first + n, read when flags & 2
// y_TN     float32 out  [T, y_stride], row n of w in column first + n; added to when flags & 1
// global size (THREADS * ceil(N / TILE_N), ceil(T / TILE_T)), local size (THREADS, 1)
// Weights meet the matrix unit as they are: eight of their rows are its left operand and SUBGROUP rows of activations,
// packed as it wants them, its right one, so that both come from memory in whole blocks, and each item has an output row.
// Accumulator: float32. How the unit rounds its sums is not documented: with PARTS 2 its chains end every DEPTH columns,
// and float32 additions that round go on.
// A subgroup computes MT x NT fragments of 8 (n) x SUBGROUP (t), a work-group GROUPS_N x GROUPS_T subgroups; they share
// what they read through the cache, and neither local memory nor barriers are needed.

#ifndef SUBGROUP
#define SUBGROUP 16 // items of a subgroup, the device's smallest: 8 or 16
#endif
#ifndef PARTS
#define PARTS 1 // float16 numbers that stand for an activation: 1 or 2
#endif
#ifndef MT
#define MT 4 // fragments of 8 rows of w a subgroup
#endif
#ifndef NT
#define NT 1 // fragments of SUBGROUP rows of x a subgroup
#endif
#ifndef GROUPS_N
#define GROUPS_N 2 // subgroups along n
#endif
#ifndef GROUPS_T
#define GROUPS_T 2 // subgroups along t
#endif
#ifndef DEPTH
#define DEPTH 128 // columns after which a chain of sums in the unit ends, with PARTS 2: a multiple of 32
#endif
#ifndef WHOLE
#define WHOLE 0 // 1: w_offset and w_stride are even, D is a multiple of 32 and N at least 8 * MT
#endif

#define THREADS (SUBGROUP * GROUPS_N * GROUPS_T)
#include "half_rows.cl"
#include "dpas.cl"

#define ACCUMULATE 1
#define BIAS 2
#define TILE_D 32
#define STEPS 2 // products a tile, 16 columns each
#define WORDS (8 * SUBGROUP) // of a fragment of x
#define PART ((ulong)D_padded / 2 * SUBGROUP) // words of a part of a tile of x
#define TILES ((T + SUBGROUP - 1) / SUBGROUP)
#define HALF_AT(t, part, d) \
    (((t) / SUBGROUP * PARTS + (part)) * PART * 2 + (d) / 2 * SUBGROUP * 2 + (t) % SUBGROUP * 2 + (d) % 2)
#define SCALE_AT(t) (TILES * PARTS * PART * 2 + (t) * 2)
#include "pack_halves.cl"

// One tile of columns of every fragment; READ is an item's part of a row of w.
#define MULTIPLY                                                                                                 \
    {                                                                                                            \
        int8 b[STEPS][NT][PARTS];                                                                                \
        UNROLL for (uint step = 0; step < STEPS; step++)                                                         \
            UNROLL for (uint j = 0; j < NT; j++)                                                                 \
                UNROLL for (uint part = 0; part < PARTS; part++)                                                 \
                    b[step][j][part] = as_int8(read_words(x[j] + part * PART + depth / 2 * SUBGROUP + step * WORDS)); \
        UNROLL for (uint i = 0; i < MT; i++) {                                                                   \
            A_ROW2 r0 = READ(i, 0), r1 = READ(i, 1), r2 = READ(i, 2), r3 = READ(i, 3);                           \
            A_ROW2 r4 = READ(i, 4), r5 = READ(i, 5), r6 = READ(i, 6), r7 = READ(i, 7);                           \
            A_FRAGMENT a[STEPS];                                                                                 \
            a[0] = (A_FRAGMENT)(r0.x, r1.x, r2.x, r3.x, r4.x, r5.x, r6.x, r7.x);                                 \
            a[1] = (A_FRAGMENT)(r0.y, r1.y, r2.y, r3.y, r4.y, r5.y, r6.y, r7.y);                                 \
            UNROLL for (uint step = 0; step < STEPS; step++)                                                     \
                UNROLL for (uint part = 0; part < PARTS; part++)                                                 \
                    UNROLL for (uint j = 0; j < NT; j++) DPAS(chain[i][j], a[step], b[step][j][part])            \
        }                                                                                                        \
    }
#if WHOLE
#define READ(i, k) read_steps(w + ((i) * 8 + (k)) * w_stride + depth)
#else
#define READ(i, k) read_steps_ending(w + (ulong)min((i) * 8 + (k), N - 1 - n_read) * w_stride + depth, D - depth)
#endif

SUBGROUP_SIZE
__kernel void matmul_dpas(__global const half *w_ND, ulong w_offset, ulong w_stride,
                          __global const half *x_TE, __global const float *bias_N,
                          __global float *y_TN, ulong y_stride, uint first, uint T, uint N, uint D, uint flags) {
    y_TN += first;
    bias_N += first;
    DPAS_LOCAL
    uint D_padded = (D + TILE_D - 1) / TILE_D * TILE_D;
    uint n0 = (get_group_id(0) * GROUPS_N + SUBGROUP_NUMBER % GROUPS_N) * (8 * MT);
    uint tile0 = (get_group_id(1) * GROUPS_T + SUBGROUP_NUMBER / GROUPS_N) * NT;
    uint n_read = WHOLE ? min(n0, N - 8 * MT) : min(n0, N - 1); // the first row that is multiplied
    __global const half *w = w_ND + w_offset + (ulong)n_read * w_stride;
    __global const uint *x[NT];
    UNROLL for (uint j = 0; j < NT; j++)
        x[j] = (__global const uint *)x_TE + min(tile0 + j, TILES - 1) * PARTS * PART;
    float8 sums[MT][NT];
    UNROLL for (uint i = 0; i < MT; i++)
        UNROLL for (uint j = 0; j < NT; j++) sums[i][j] = 0.0f;
#if PARTS == 2
    float8 chain[MT][NT];
    UNROLL for (uint i = 0; i < MT; i++)
        UNROLL for (uint j = 0; j < NT; j++) chain[i][j] = 0.0f;
#else
#define chain sums
#endif

    for (uint depth = 0; depth < D; depth += TILE_D) {
        MULTIPLY
#if PARTS == 2
        if ((depth + TILE_D) % DEPTH == 0 || depth + TILE_D >= D) {
            UNROLL for (uint i = 0; i < MT; i++) {
                UNROLL for (uint j = 0; j < NT; j++) {
                    sums[i][j] += chain[i][j];
                    chain[i][j] = 0.0f;
                }
            }
        }
#endif
    }

    UNROLL for (uint j = 0; j < NT; j++) {
        uint t = (tile0 + j) * SUBGROUP + LANE;
        if (t < T) {
            float scale = *(__global const float *)(x_TE + SCALE_AT(t));
            UNROLL for (uint i = 0; i < MT; i++) {
                uint n = n_read + i * 8;
                __global float *y = y_TN + (ulong)t * y_stride + n;
                float8 value = sums[i][j] * scale;
                if (n >= n0 && n + 8 <= N) {
                    if (flags & BIAS) value += vload8(0, bias_N + n);
                    if (flags & ACCUMULATE) value += vload8(0, y);
                    vstore8(value, 0, y);
                } else {
                    float values[8];
                    vstore8(value, 0, values);
                    for (uint k = 0; k < 8; k++) {
                        if (n + k < n0 || n + k >= N) continue;
                        float sum = values[k];
                        if (flags & BIAS) sum += bias_N[n + k];
                        if (flags & ACCUMULATE) sum += y[k];
                        y[k] = sum;
                    }
                }
            }
        }
    }
}
