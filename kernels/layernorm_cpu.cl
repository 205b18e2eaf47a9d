// y[r, d] = (x[s, d] - mean) / sqrt(variance + eps) * w[d] + b[d], s = rows[r], over d of x[s, d]; CPU family.
//
// x_TD    float32 in   [T, D]
// w_D     float32 in   [D]
// b_D     float32 in   [D]
// rows_R  int32 in     [R], the rows of x to take; read when gather is 1, else s = r
// y_RD    float32 out  [R, D]; may be x itself when gather is 0
// Global size (R), local size (1). Accumulator: float32 in 16 lanes. One work-item a row.

#include "float16.cl"

__kernel void layernorm(__global const float *x_TD, __global const float *w_D, __global const float *b_D,
                        __global const int *rows_R, __global float *y_RD, uint D, float eps, uint gather) {
    uint r = get_global_id(0);
    __global const float *x = x_TD + (gather ? (ulong)rows_R[r] : (ulong)r) * D;
    __global float *y = y_RD + (ulong)r * D;
    float16 sum = 0.0f, squares = 0.0f;
    for (uint d = 0; d < D; d += 16) sum += load16_float(x + d, D - d);
    float mean = sum16(sum) / D;
    for (uint d = 0; d < D; d += 16) {
        float16 distance = load16_float(x + d, D - d) - mean;
        if (D - d < 16) distance = select((float16)(0.0f), distance, IOTA16 < (int16)((int)(D - d)));
        squares = MULTIPLY_ADD(distance, distance, squares);
    }
    float scale = 1.0f / sqrt(sum16(squares) / D + eps);
    for (uint d = 0; d < D; d += 16) {
        float16 normal = (load16_float(x + d, D - d) - mean) * scale;
        store16_float(MULTIPLY_ADD(normal, load16_float(w_D + d, D - d), load16_float(b_D + d, D - d)), y + d, D - d);
    }
}
