// y[t, n] = (accumulate ? y[t, n] : 0) + bias[n] + sum over d of x[t, d] * w[n, d]; many rows t, CPU family.
//
// pack_rows:   x_TD    float32 in   [T, D], row t at x + t * D
//              x_PDM   float32 out  [ceil(T / 64), D_padded, 64], zeros where t or d is past the end
//              global size (ceil(T / 64), ceil(D / 16)), local size (1, 1); D_padded = 16 * ceil(D / 16)
// matmul_gemm: w_ND    float16 in   [N, D], row n at w + w_offset + n * w_stride (elements)
//              x_PDM   float32 in   as packed
//              bias_N  float32 in   row n of w at first + n, read when flags & 2
//              y_TN    float32 out  [T, y_stride], row n of w in column first + n; added to when flags & 1
//              sums    float32      [items, ceil(tokens_per_item / 64), TILE_N, 64], scratch
//              global size (any, ceil(T / tokens_per_item)), local size (1, 1): items of the first dimension take
//              blocks of rows_per_block rows in turn, a multiple of 16 that is at most TILE_N;
//              tokens_per_item is a multiple of 64
// matmul_gated: the hidden layer of a gated network: ACTIVATION(gate) * up, as activation.cl has it, of two such products,
//              stored as packed
//              gate_w, up_w  float16 in  [N, D]; bias_gate, bias_up  float32 in  [N], read when flags & 2
//              hidden_PNM    float32 out [ceil(T / 64), N_padded, 64], zeros in rows past N
//              sums          as above; global size as above; rows_per_block is at most TILE_N / 2
// Accumulator: float32. The lanes of a vector are tokens. A work-item widens a block of TILE_D columns of its rows of w
// once; 64 tokens of x at that depth (TILE_D * 256 bytes) stay in the first-level cache and meet it in register tiles
// of 6 rows x 64 tokens: four loads of x and six broadcasts of w for 24 multiply-adds. What the next tiles
// read is prefetched meanwhile: sums, x and, from memory, the next columns of w.

// FORMAT, where it is given: w is quantised, in the order of block_lanes.cl; offset and stride, that of 16 rows divided by
// 16, count bytes. A block of w then is [TILE_N / 48, TILE_D, 48], or else [TILE_N, TILE_D].

#include "activation.cl"
#include "float16.cl"

#ifndef TILE_D
#define TILE_D 128 // depth of a block; a multiple of 16
#endif
#ifndef TILE_N
#define TILE_N 384 // most rows of w in a block; a multiple of 96
#endif

#ifdef FORMAT
#include "block_lanes.cl"
typedef __global const uchar *Weights;
#define ROW_STEP 1 // in a block of w, to the next row of a tile
#define COLUMN_STEP 48 // to the next column
#define ROW_BYTES (TILE_D / 32 * BLOCK_BYTES / PARTS) // of a row of a block
#define TILE_AT(i) ((i) * TILE_M / 48 * (48 * TILE_D) + (i) * TILE_M % 48)
#else
typedef __global const half *Weights;
#define ROW_STEP TILE_D
#define COLUMN_STEP 1
#define TILE_AT(i) ((i) * (TILE_M * TILE_D))
#endif

#define PANEL 64 // tokens that are packed together
#define TILE_M 6 // rows of w in a register tile

// Intel's compiler then does not try to make vectors across work-items, which takes it seconds.
#define EXPLICIT_VECTORS __attribute__((vec_type_hint(float16)))

#define ACCUMULATE 1
#define BIAS 2

EXPLICIT_VECTORS
__kernel void pack_rows(__global const float *x_TD, __global float *x_PDM, uint T, uint D) {
    uint t0 = get_global_id(0) * PANEL, d0 = get_global_id(1) * 16;
    uint D_padded = (D + 15) / 16 * 16;
    __global float *out = x_PDM + ((ulong)get_global_id(0) * D_padded + d0) * PANEL;
    for (uint m = 0; m < PANEL; m += 16) {
        uint rows = t0 + m < T ? T - t0 - m : 0;
        __global const float *x = x_TD + (ulong)(t0 + m) * D + d0;
#define LOAD_ROW(i) float16 a##i = i < rows ? load16_float(x + (ulong)i * D, D - d0) : (float16)(0.0f);
        REPEAT16(LOAD_ROW)
        SHUFFLE(a, b) SHUFFLE(b, c) SHUFFLE(c, d) SHUFFLE(d, e)
#define STORE_COLUMN(i) vstore16(e##i, 0, out + i * PANEL + m);
        REPEAT16(STORE_COLUMN)
    }
}

// A register tile: TILE_M rows of w, 16 * VECTORS tokens, `depth` columns; sums are [TILE_M, PANEL].
#define DEFINE_TILE(name, VECTORS)                                                                                \
    inline void name(const float *w, __global const float *x, __global float *sums, uint depth, bool begin) {     \
        float16 a[TILE_M][VECTORS];                                                                               \
        _Pragma("unroll") for (uint m = 0; m < TILE_M; m++) {                                                     \
            _Pragma("unroll") for (uint v = 0; v < VECTORS; v++)                                                  \
                a[m][v] = begin ? (float16)(0.0f) : vload16(v, sums + m * PANEL);                                 \
        }                                                                                                         \
        for (const float *end = w + depth * COLUMN_STEP; w < end; w += COLUMN_STEP, x += PANEL) {                 \
            float16 xv[VECTORS];                                                                                  \
            _Pragma("unroll") for (uint v = 0; v < VECTORS; v++) xv[v] = vload16(v, x);                           \
            _Pragma("unroll") for (uint m = 0; m < TILE_M; m++) {                                                 \
                float16 wm = (float16)(w[m * ROW_STEP]);                                                          \
                _Pragma("unroll") for (uint v = 0; v < VECTORS; v++) a[m][v] = MULTIPLY_ADD(wm, xv[v], a[m][v]);  \
            }                                                                                                     \
        }                                                                                                         \
        _Pragma("unroll") for (uint m = 0; m < TILE_M; m++) {                                                     \
            _Pragma("unroll") for (uint v = 0; v < VECTORS; v++) vstore16(a[m][v], v, sums + m * PANEL);          \
        }                                                                                                         \
    }
DEFINE_TILE(tile_16, 1)
DEFINE_TILE(tile_32, 2)
DEFINE_TILE(tile_64, 4)

// Columns [d0, d0 + depth) of `rows` rows widened to a block; rows up to a whole tile become zero.
inline void widen(Weights w_ND, ulong w_stride, uint rows, uint d0, uint depth, uint D, float *block_ND) {
#ifdef FORMAT
    for (uint n = 0; n < rows; n += 16) {
        float *to = block_ND + n / 48 * (48 * TILE_D) + n % 48;
        for (uint d = 0; d < depth; d += 32) {
            uint part = (d0 + d) / 32;
            __global const uchar *block = w_ND + n * w_stride + (ulong)(part / PARTS) * (16 * BLOCK_BYTES);
            uint16 q[16];
            float16 scale[HALVES], minimum[HALVES];
            decode_part(block, part % PARTS, q, scale, minimum);
#pragma unroll
            for (uint i = 0; i < 16; i++) {
                float *column = to + (d + i / 2 * 4 + i % 2) * 48;
#if HAS_MINIMUM
                vstore16(MULTIPLY_ADD(LOW(q[i]), scale[i * HALVES / 16], minimum[i * HALVES / 16]), 0, column);
                vstore16(MULTIPLY_ADD(HIGH(q[i]), scale[i * HALVES / 16], minimum[i * HALVES / 16]), 0, column + 96);
#else
                vstore16(LOW(q[i]) * scale[i * HALVES / 16], 0, column);
                vstore16(HIGH(q[i]) * scale[i * HALVES / 16], 0, column + 96);
#endif
            }
        }
    }
    // A tile reaches past the last group of sixteen rows, and that group past the matrix.
    uint tail = (rows + 15) / 16 * 16;
    if (tail % TILE_M && tail % 48)
        for (uint d = 0; d < depth; d++)
            vstore16((float16)(0.0f), 0, block_ND + tail / 48 * (48 * TILE_D) + d * 48 + tail % 48);
#else
    for (uint n = 0; n < rows; n++)
        for (uint d = 0; d < depth; d += 16)
            vstore16(load16_half(w_ND + n * w_stride + d0 + d, D - d0 - d), 0, block_ND + n * TILE_D + d);
#endif
}

// sums[panel][n][token] = sum over d of x * w for `rows` rows from w on and the tokens of [t_begin, t_end);
// `stride` floats lie between panels of the sums. Rows up to a multiple of 16 become zero.
inline void multiply_block(Weights w_ND, ulong w_stride, __global const float *x_PDM, __global float *sums,
                           ulong stride, uint rows, uint t_begin, uint t_end, uint D, float *block_ND) {
    uint D_padded = (D + 15) / 16 * 16;
    uint tiles = ((rows + 15) / 16 * 16 + TILE_M - 1) / TILE_M, panels = (t_end - t_begin + PANEL - 1) / PANEL;
#ifndef FORMAT
    for (uint n = rows; n < tiles * TILE_M; n++)
        for (uint d = 0; d < TILE_D; d += 16) vstore16((float16)(0.0f), 0, block_ND + n * TILE_D + d);
#endif
    for (uint d0 = 0; d0 < D; d0 += TILE_D) {
        uint depth = min((uint)TILE_D, D_padded - d0);
        widen(w_ND, w_stride, rows, d0, depth, D, block_ND);
        bool more = d0 + TILE_D < D;
        uint x_lines = (depth * (PANEL / 16) + tiles - 1) / tiles, w_done = 0;
        for (uint p = 0; p < panels; p++) {
            uint t = t_begin + p * PANEL;
            __global const float *x = x_PDM + ((ulong)(t / PANEL) * D_padded + d0) * PANEL;
            // After the last panel comes the first one, at the next depth.
            __global const float *next = p + 1 < panels ? x + (ulong)D_padded * PANEL
                                                        : x_PDM + ((ulong)(t_begin / PANEL) * D_padded + d0 + depth) * PANEL;
            for (uint i = 0; i < tiles; i++) {
                __global float *tile = sums + p * stride + i * (TILE_M * PANEL);
                if (d0 > 0 && i + 1 < tiles)
                    for (uint j = 0; j < TILE_M * PANEL; j += 16) PREFETCH(tile + TILE_M * PANEL + j);
                if (p + 1 < panels || more)
                    for (uint j = 0; j < x_lines; j++) PREFETCH(next + (i * x_lines + j) * 16);
                if (more) {
                    uint w_next = (p * tiles + i + 1) * rows / (panels * tiles);
                    for (; w_done < w_next; w_done++)
#ifdef FORMAT
                        for (uint b = 0; b < ROW_BYTES; b += 64)
                            PREFETCH(w_ND + w_done / 16 * 16 * w_stride + (ulong)(d0 / TILE_D + 1) * (16 * ROW_BYTES) +
                                     w_done % 16 * ROW_BYTES + b);
#else
                        for (uint d = 0; d < TILE_D; d += 32) PREFETCH(w_ND + w_done * w_stride + d0 + TILE_D + d);
#endif
                }
                const float *w = block_ND + TILE_AT(i);
                uint tokens = t_end - t;
                if (tokens > 32)
                    tile_64(w, x, tile, depth, d0 == 0);
                else if (tokens > 16)
                    tile_32(w, x, tile, depth, d0 == 0);
                else
                    tile_16(w, x, tile, depth, d0 == 0);
            }
        }
    }
}

EXPLICIT_VECTORS
__kernel void matmul_gemm(Weights w_ND, ulong w_offset, ulong w_stride,
                          __global const float *x_PDM, __global const float *bias_N,
                          __global float *y_TN, ulong y_stride, uint first, uint T, uint N, uint D,
                          __global float *sums, uint rows_per_block, uint tokens_per_item, uint flags) {
    y_TN += first;
    bias_N += first;
    uint t_begin = get_global_id(1) * tokens_per_item, t_end = min(t_begin + tokens_per_item, T);
    float block_ND[TILE_N * TILE_D] __attribute__((aligned(64)));
    ulong stride = TILE_N * PANEL;
    sums += (get_global_id(1) * get_global_size(0) + get_global_id(0)) * (tokens_per_item / PANEL * stride);
    for (uint n0 = get_global_id(0) * rows_per_block; n0 < N; n0 += get_global_size(0) * rows_per_block) {
        uint rows = min(rows_per_block, N - n0);
        Weights w = w_ND + w_offset + (ulong)n0 * w_stride;
        multiply_block(w, w_stride, x_PDM, sums, stride, rows, t_begin, t_end, D, block_ND);
        for (uint t = t_begin; t < t_end; t += 16) {
            __global const float *from = sums + (t - t_begin) / PANEL * stride + t % PANEL;
            __global float *y = y_TN + (ulong)t * y_stride + n0;
            for (uint n = 0; n < rows; n += 16) {
                uint count = rows - n;
                float16 bias = flags & BIAS ? load16_float(bias_N + n0 + n, count) : (float16)(0.0f);
#define LOAD_SUM(i) float16 a##i = vload16(0, from + (n + i) * PANEL);
                REPEAT16(LOAD_SUM)
                SHUFFLE(a, b) SHUFFLE(b, c) SHUFFLE(c, d) SHUFFLE(d, e)
#define STORE_ROW(i)                                               \
    if (t + i < t_end) {                                           \
        __global float *to = y + i * y_stride + n;                 \
        float16 value = e##i + bias;                               \
        if (flags & ACCUMULATE) value += load16_float(to, count);  \
        store16_float(value, to, count);                           \
    }
                REPEAT16(STORE_ROW)
            }
        }
    }
}

EXPLICIT_VECTORS
__kernel void matmul_gated(Weights gate_ND, ulong gate_offset, ulong gate_stride,
                           Weights up_ND, ulong up_offset, ulong up_stride,
                           __global const float *x_PDM, __global const float *bias_gate, __global const float *bias_up,
                           __global float *hidden_PNM, uint T, uint N, uint D,
                           __global float *sums, uint rows_per_block, uint tokens_per_item, uint flags) {
    uint t_begin = get_global_id(1) * tokens_per_item, t_end = min(t_begin + tokens_per_item, T);
    float block_ND[TILE_N * TILE_D] __attribute__((aligned(64)));
    ulong stride = TILE_N * PANEL, half_tile = stride / 2, N_padded = (N + 15) / 16 * 16;
    sums += (get_global_id(1) * get_global_size(0) + get_global_id(0)) * (tokens_per_item / PANEL * stride);
    for (uint n0 = get_global_id(0) * rows_per_block; n0 < N; n0 += get_global_size(0) * rows_per_block) {
        uint rows = min(rows_per_block, N - n0);
        Weights gate = gate_ND + gate_offset + (ulong)n0 * gate_stride;
        Weights up = up_ND + up_offset + (ulong)n0 * up_stride;
        multiply_block(gate, gate_stride, x_PDM, sums, stride, rows, t_begin, t_end, D, block_ND);
        multiply_block(up, up_stride, x_PDM, sums + half_tile, stride, rows, t_begin, t_end, D, block_ND);
        for (uint t = t_begin; t < t_end; t += PANEL) {
            __global const float *from = sums + (t - t_begin) / PANEL * stride;
            __global float *to = hidden_PNM + (t / PANEL * N_padded + n0) * PANEL;
            for (uint n = 0; n < (rows + 15) / 16 * 16; n++) {
                float g = flags & BIAS && n < rows ? bias_gate[n0 + n] : 0.0f;
                float u = flags & BIAS && n < rows ? bias_up[n0 + n] : 0.0f;
                for (uint m = 0; m < PANEL; m += 16) {
                    float16 a = vload16(0, from + n * PANEL + m) + g;
                    float16 b = vload16(0, from + half_tile + n * PANEL + m) + u;
                    vstore16(ACTIVATION(a) * b, 0, to + n * PANEL + m);
                }
            }
        }
    }
}
