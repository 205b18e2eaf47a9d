// y[t, n] = (accumulate ? y[t, n] : 0) + bias[n] + sum over d of x[t, d] * w[n, d] for up to three matrices w and up to 64
// rows t, CPU family.
//
// pack_lanes:   x_TD    float32 in   [T, D], row t at x + t * D; T <= TOKENS = 16 / COLUMNS * VECTORS
//               x_SL    float32 out  [D_padded / COLUMNS, TOKENS, COLUMNS], zeros where t or d is past the end;
//                                    D_padded = 16 * ceil(D / 16)
//               global size (ceil(D / 16)), local size (1)
// matmul_lanes: x_SL as packed, and of each matrix, one that is not there having N = 0:
//               w_ND    float16 in   [N, D], row n at w + offset + n * stride (elements)
//               bias_N  float32 in   row n of w at first + n, read when flags & 2
//               y_TN    float32 out  [T, y_stride], row n of w in column first + n; added to when flags & 1
//               global size (sum over the matrices of ceil(N / ROWS)), local size (1)
// Accumulator: float32. The lanes of a vector are tokens, each with COLUMNS columns next to each other, which are added
// up at the end. A work-item's sums, ROWS rows of w for all tokens, stay in registers. Each load of COLUMNS weights,
// repeated in all lanes, meets VECTORS vectors of tokens: a load of a whole vector costs as much as a multiply-add, so
// few tokens take several columns. While a piece of the rows is multiplied, the next one is widened.

#include "float16.cl"

#ifndef COLUMNS
#define COLUMNS 1 // of a token in a vector: 1, 2 or 4
#endif
#ifndef VECTORS
#define VECTORS 2 // of tokens: 2 to 4
#endif
#ifndef PIECE
#define PIECE 128 // columns that are widened together; a multiple of 32
#endif

#define TOKENS (16 / COLUMNS * VECTORS)
#define ROWS (24 / VECTORS)
#define STEPS (PIECE / COLUMNS) // of a piece
#define AHEAD 512               // columns

#if COLUMNS == 1
#define SPREAD(p) (float16)(*(p))
#elif COLUMNS == 2
#define SPREAD(p) as_float16((ulong8)(as_ulong(vload2(0, p))))
#else
#define SPREAD(p) spread4(vload4(0, p))
inline float16 spread4(float4 a) { return (float16)(a, a, a, a); }
#endif

// Intel's compiler then does not try to make vectors across work-items, which takes it seconds.
#define EXPLICIT_VECTORS __attribute__((vec_type_hint(float16)))

#define ACCUMULATE 1
#define BIAS 2

EXPLICIT_VECTORS
__kernel void pack_lanes(__global const float *x_TD, __global float *x_SL, uint T, uint D) {
    uint d0 = get_global_id(0) * 16;
    __global float *out = x_SL + (ulong)d0 * TOKENS;
    for (uint t = 0; t < TOKENS; t++) {
        float a[16];
        vstore16(t < T ? load16_float(x_TD + (ulong)t * D + d0, D - d0) : (float16)(0.0f), 0, a);
        __global float *to = out + t * COLUMNS;
        for (uint d = 0; d < 16; d += COLUMNS)
            for (uint c = 0; c < COLUMNS; c++) to[d * TOKENS + c] = a[d + c];
    }
}

// Columns [d0, d0 + PIECE) of a row. What comes AHEAD of them is prefetched: of the row, or of the next item's.
#define WIDEN(row, d0, to)                                                                                        \
    {                                                                                                             \
        __global const half *from = (row) + (d0);                                                                 \
        __global const half *ahead = from + AHEAD + ((d0) + AHEAD < D ? 0 : ROWS * w_stride - D);                 \
        _Pragma("unroll") for (uint d = 0; d < PIECE; d += 32) PREFETCH(ahead + d);                               \
        _Pragma("unroll") for (uint d = 0; d < PIECE; d += 16) vstore16(vload_half16(0, from + d), 0, (to) + d);  \
    }

// The multiply-adds of the next COLUMNS columns.
#define STEP                                                                                                      \
    {                                                                                                             \
        float16 xv[VECTORS];                                                                                      \
        _Pragma("unroll") for (uint v = 0; v < VECTORS; v++) xv[v] = vload16(v, x);                               \
        _Pragma("unroll") for (uint i = 0; i < ROWS; i++) {                                                       \
            float16 wi = SPREAD(u + i * PIECE);                                                                   \
            _Pragma("unroll") for (uint v = 0; v < VECTORS; v++) a[i][v] = MULTIPLY_ADD(wi, xv[v], a[i][v]);      \
        }                                                                                                         \
        u += COLUMNS;                                                                                             \
        x += 16 * VECTORS;                                                                                        \
    }

EXPLICIT_VECTORS
__kernel void matmul_lanes(__global const half *w0_ND, ulong offset0, ulong stride0, __global const float *bias0_N,
                           __global float *y0_TN, ulong y_stride0, uint first0, uint N0,
                           __global const half *w1_ND, ulong offset1, ulong stride1, __global const float *bias1_N,
                           __global float *y1_TN, ulong y_stride1, uint first1, uint N1,
                           __global const half *w2_ND, ulong offset2, ulong stride2, __global const float *bias2_N,
                           __global float *y2_TN, ulong y_stride2, uint first2, uint N2,
                           __global const float *x_SL, uint T, uint D, uint flags) {
    uint item = get_global_id(0), items0 = (N0 + ROWS - 1) / ROWS, items1 = (N1 + ROWS - 1) / ROWS;
    __global const half *w_ND = w0_ND + offset0;
    __global const float *bias_N = bias0_N + first0;
    __global float *y_TN = y0_TN + first0;
    ulong w_stride = stride0, y_stride = y_stride0;
    uint N = N0;
    if (item >= items0 + items1) {
        item -= items0 + items1;
        w_ND = w2_ND + offset2, bias_N = bias2_N + first2, y_TN = y2_TN + first2;
        w_stride = stride2, y_stride = y_stride2, N = N2;
    } else if (item >= items0) {
        item -= items0;
        w_ND = w1_ND + offset1, bias_N = bias1_N + first1, y_TN = y1_TN + first1;
        w_stride = stride1, y_stride = y_stride1, N = N1;
    }
    uint n0 = item * ROWS, rows = min((uint)ROWS, N - n0);
    float wide[2][ROWS * PIECE] __attribute__((aligned(64)));
    // Rows past the end repeat the last one; their sums are not stored.
    __global const half *w = w_ND + (ulong)n0 * w_stride;
    float16 a[ROWS][VECTORS];
#pragma unroll
    for (uint m = 0; m < ROWS; m++)
#pragma unroll
        for (uint v = 0; v < VECTORS; v++) a[m][v] = 0.0f;
    __global const float *x = x_SL;
    uint whole = D - D % PIECE;
    if (whole > 0)
        for (uint m = 0; m < ROWS; m++) WIDEN(w + min(m, rows - 1) * w_stride, 0, wide[0] + m * PIECE)
    for (uint d0 = 0; d0 < whole; d0 += PIECE) {
        const float *u = wide[d0 / PIECE % 2];
        float *to = wide[1 - d0 / PIECE % 2];
        bool more = d0 + PIECE < whole;
        __global const half *row = w;
        for (uint m = 0; m < ROWS; m++, to += PIECE) {
            if (more) WIDEN(row, d0 + PIECE, to)
            if (m + 1 < rows) row += w_stride;
#pragma unroll
            for (uint s = 0; s < STEPS / ROWS; s++) STEP
        }
#pragma unroll
        for (uint s = 0; s < STEPS % ROWS; s++) STEP
    }
    if (whole < D) {
        for (uint m = 0; m < ROWS; m++)
            for (uint d = whole; d < D; d += 16)
                vstore16(load16_half(w + min(m, rows - 1) * w_stride + d, D - d), 0, wide[0] + m * PIECE + d - whole);
        for (const float *u = wide[0], *end = u + (D - whole + 15) / 16 * 16; u < end;) STEP
    }
    float sums[ROWS * 16 * VECTORS] __attribute__((aligned(64)));
#pragma unroll
    for (uint m = 0; m < ROWS; m++)
#pragma unroll
        for (uint v = 0; v < VECTORS; v++) vstore16(a[m][v], m * VECTORS + v, sums);
    for (uint t = 0; t < T; t++) {
        __global float *y = y_TN + (ulong)t * y_stride + n0;
        for (uint m = 0; m < rows; m++) {
            const float *from = sums + (m * TOKENS + t) * COLUMNS;
            float value = 0.0f;
#pragma unroll
            for (uint c = 0; c < COLUMNS; c++) value += from[c];
            if (flags & BIAS) value += bias_N[n0 + m];
            if (flags & ACCUMULATE) value += y[m];
            y[m] = value;
        }
    }
}
