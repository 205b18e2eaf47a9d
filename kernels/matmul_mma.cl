// y[t, n] = (accumulate ? y[t, n] : 0) + bias[n] + sum over d of x[t, d] * w[n, d] on NVIDIA's tensor cores.
//
// w_ND     float16 in   [N, D], row n at w + w_offset + n * w_stride (elements)
// x_TE     float16 in   [T, E], E = PARTS * D_padded + 8, D_padded = 32 * ceil(D / 32), of pack_halves.cl: of each row
//                       its parts one after the other, then the inverse scale
// bias_N   float32 in   row n of w at first + n, read when flags & 2
// y_TN     float32 out  [T, y_stride], row n of w in column first + n; added to when flags & 1
// global size (THREADS * ceil(N / TILE_N), ceil(T / TILE_T)), local size (THREADS, 1)
// Weights meet the matrix unit as they are. Two float16 parts hold 22 bits of an activation; one part holds 11.
// Accumulator: float32. The unit truncates each sum, where it should round (Ootomo and Yokota, 2022): with PARTS 2 its
// chains end every DEPTH columns, and float32 additions that round go on.
// A warp computes MT x NT fragments of 16 x 8 of a TILE_T x TILE_N tile. Tiles 32 deep are copied asynchronously, STAGES
// of them in turn, so that STAGES - 1 are under way while one is multiplied. The eight rows of a fragment lie in
// different banks: the four 16-byte chunks of a row change places by the row's number.

#ifndef PARTS
#define PARTS 1 // float16 numbers that stand for an activation: 1 or 2
#endif
#ifndef TILE_T
#define TILE_T 64 // rows of x a group: a multiple of 16 * WARPS_T
#endif
#ifndef TILE_N
#define TILE_N 64 // rows of w a group: a multiple of 16 * WARPS_N
#endif
#ifndef WARPS_T
#define WARPS_T 2 // warps along t: 1, 2 or 4
#endif
#ifndef WARPS_N
#define WARPS_N 2 // warps along n: 1, 2 or 4
#endif
#ifndef STAGES
#define STAGES 2 // tiles in local memory, 64 * (PARTS * TILE_T + TILE_N) bytes each: 2 to 8
#endif
#ifndef DEPTH
#define DEPTH 128 // columns after which a chain of sums in the unit ends, with PARTS 2: a multiple of 32
#endif
#ifndef ALIGNED
#define ALIGNED 0 // 1: w_offset, w_stride and D are multiples of 8
#endif

#define THREADS (32 * WARPS_T * WARPS_N)
#include "half_rows.cl"
#include "mma.cl"

#define ACCUMULATE 1
#define BIAS 2
#define TILE_D 32
#define CHUNKS 4 // of 16 bytes in a row of a tile
#define MT (TILE_T / WARPS_T / 16)
#define NT (TILE_N / WARPS_N / 8)
#define ROWS_X (PARTS * TILE_T)
#define STAGE ((ROWS_X + TILE_N) * CHUNKS) // chunks of a stage: the rows of x, then those of w
#define PLACE(row, chunk) ((row) * CHUNKS + ((chunk) ^ ((row) / 2 % CHUNKS)))
#define PACKED_ROW(D_padded) (PARTS * (D_padded) + 8)

#define HALF_AT(t, part, d) ((ulong)(t) * PACKED_ROW(D_padded) + (part) * D_padded + (d))
#define SCALE_AT(t) HALF_AT(t, PARTS, 0)
#include "pack_halves.cl"

// Starts the copies of tile `depth / TILE_D` to a stage; the items divide its chunks.
#define FETCH(stage, depth)                                                                                      \
    {                                                                                                            \
        UNROLL for (uint i = 0; i < ROWS_X * CHUNKS; i += THREADS) {                                             \
            uint row = (i + item) / CHUNKS, chunk = (i + item) % CHUNKS;                                         \
            __global const half *from = x_TE + (ulong)min(t0 + row % TILE_T, T - 1) * PACKED_ROW(D_padded) +     \
                                        row / TILE_T * D_padded + (depth) + chunk * 8;                           \
            COPY_ASYNC(tiles + (stage) * STAGE + PLACE(row, chunk), (__global const uint4 *)from, 1)             \
        }                                                                                                        \
        UNROLL for (uint i = 0; i < TILE_N * CHUNKS; i += THREADS) {                                             \
            uint row = (i + item) / CHUNKS, chunk = (i + item) % CHUNKS, d = (depth) + chunk * 8;                \
            FETCH_WEIGHTS(tiles + (stage) * STAGE + ROWS_X * CHUNKS + PLACE(row, chunk),                         \
                          w + (ulong)min(n0 + row, N - 1) * w_stride, d)                                         \
        }                                                                                                        \
    }
#if ALIGNED // what lies past the end is not multiplied: zeros take its place
#define FETCH_WEIGHTS(to, row, d) COPY_ASYNC(to, (__global const uint4 *)((row) + min(d, D - 8)), (d) < D)
#else
#define FETCH_WEIGHTS(to, row, d) copy8_half((row) + (d), (int)(D - (d)), (__local uint *)(to));
#endif
#if ROWS_X * CHUNKS % THREADS != 0 || TILE_N * CHUNKS % THREADS != 0
#error "the items do not share the copies evenly"
#endif

__kernel void matmul_mma(__global const half *w_ND, ulong w_offset, ulong w_stride,
                         __global const half *x_TE, __global const float *bias_N,
                         __global float *y_TN, ulong y_stride, uint first, uint T, uint N, uint D, uint flags) {
    y_TN += first;
    bias_N += first;
    __local uint4 tiles[STAGES * STAGE];
    MMA_LOCAL
    uint item = get_local_id(0), lane = item % 32, warp = item / 32;
    uint n0 = get_group_id(0) * TILE_N, t0 = get_group_id(1) * TILE_T;
    uint warp_t = warp / WARPS_N * (TILE_T / WARPS_T), warp_n = warp % WARPS_N * (TILE_N / WARPS_N);
    uint D_padded = (D + TILE_D - 1) / TILE_D * TILE_D, steps = D_padded / TILE_D;
    __global const half *w = w_ND + w_offset;
    float sums[MT][NT][4];
    UNROLL for (uint i = 0; i < MT; i++)
        UNROLL for (uint j = 0; j < NT; j++)
            UNROLL for (uint k = 0; k < 4; k++) sums[i][j][k] = 0.0f;
#if PARTS == 2
    float chain[MT][NT][4];
    UNROLL for (uint i = 0; i < MT; i++)
        UNROLL for (uint j = 0; j < NT; j++)
            UNROLL for (uint k = 0; k < 4; k++) chain[i][j][k] = 0.0f;
#else
#define chain sums
#endif

    for (uint step = 0; step < STAGES - 1; step++) {
        if (step < steps) FETCH(step, step * TILE_D)
        COPY_COMMIT()
    }
    for (uint step = 0; step < steps; step++) {
        COPY_WAIT(STAGES - 2)
        barrier(CLK_LOCAL_MEM_FENCE); // all items' copies of this stage are here; all have read the stage that is next copied to
        uint next = step + STAGES - 1;
        if (next < steps) FETCH(next % STAGES, next * TILE_D)
        COPY_COMMIT()
        __local const uint4 *x_tile = tiles + step % STAGES * STAGE, *w_tile = x_tile + ROWS_X * CHUNKS;
        UNROLL for (uint k = 0; k < CHUNKS; k += 2) {
            uint b[NT][2];
            UNROLL for (uint j = 0; j < NT; j += 2) {
                uint row = warp_n + j * 8 + lane / 16 * 8 + lane % 8, r[4];
                LDMATRIX_X4(r, w_tile + PLACE(row, k + lane / 8 % 2))
                b[j][0] = r[0], b[j][1] = r[1], b[j + 1][0] = r[2], b[j + 1][1] = r[3];
            }
            UNROLL for (uint part = 0; part < PARTS; part++) {
                UNROLL for (uint i = 0; i < MT; i++) {
                    uint row = part * TILE_T + warp_t + i * 16 + lane % 16, a[4];
                    LDMATRIX_X4(a, x_tile + PLACE(row, k + lane / 16))
                    UNROLL for (uint j = 0; j < NT; j++) MMA_16816(chain[i][j], a, b[j])
                }
            }
        }
#if PARTS == 2
        if ((step + 1) % (DEPTH / TILE_D) == 0 || step + 1 == steps) {
            UNROLL for (uint i = 0; i < MT; i++) {
                UNROLL for (uint j = 0; j < NT; j++) {
                    UNROLL for (uint l = 0; l < 4; l++) {
                        sums[i][j][l] += chain[i][j][l];
                        chain[i][j][l] = 0.0f;
                    }
                }
            }
        }
#endif
    }

    UNROLL for (uint i = 0; i < MT; i++) {
        UNROLL for (uint high = 0; high < 2; high++) {
            uint t = t0 + warp_t + i * 16 + high * 8 + lane / 4;
            if (t < T) {
                __global const half *row = x_TE + (ulong)t * PACKED_ROW(D_padded);
                float scale = *(__global const float *)(row + PARTS * D_padded);
                UNROLL for (uint j = 0; j < NT; j++) {
                    UNROLL for (uint k = 0; k < 2; k++) {
                        uint n = n0 + warp_n + j * 8 + lane % 4 * 2 + k;
                        if (n < N) {
                            __global float *y = y_TN + (ulong)t * y_stride + n;
                            float value = sums[i][j][high * 2 + k] * scale;
                            if (flags & BIAS) value += bias_N[n];
                            if (flags & ACCUMULATE) value += *y;
                            *y = value;
                        }
                    }
                }
            }
        }
    }
}
