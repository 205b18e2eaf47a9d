// y[r, d] = (x[s, d] - mean) / sqrt(variance + eps) * w[d] + b[d], s = rows[r], over d of x[s, d]; portable.
//
// x_TD    float32 in   [T, D]
// w_D     float32 in   [D]
// b_D     float32 in   [D]
// rows_R  int32 in     [R], the rows of x to take; read when gather is 1, else s = r
// y_RD    float32 out  [R, D]; may be x itself when gather is 0
// Global size (R * GROUP), local size (GROUP). Accumulator: float32.
// A work-group normalises a row; its items add up values, then squares of distances to the mean, in local memory.

#ifndef GROUP
#define GROUP 64 // work-items a row; a power of two; 256 is for devices where one row must be fast
#endif

// Adds up the items' values; all items get the sum.
inline float sum_of_group(float value, __local float *sums) {
    uint item = get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE); // what the previous sum left has been read
    sums[item] = value;
    for (uint half_group = GROUP / 2; half_group > 0; half_group /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE); // the sums of the previous round are all written
        if (item < half_group) sums[item] += sums[item + half_group];
    }
    barrier(CLK_LOCAL_MEM_FENCE); // the total is written before every item reads it
    return sums[0];
}

__kernel void layernorm(__global const float *x_TD, __global const float *w_D, __global const float *b_D,
                        __global const int *rows_R, __global float *y_RD, uint D, float eps, uint gather) {
    __local float sums[GROUP];
    uint r = get_group_id(0), item = get_local_id(0);
    __global const float *x = x_TD + (gather ? (ulong)rows_R[r] : (ulong)r) * D;
    __global float *y = y_RD + (ulong)r * D;
    float sum = 0.0f, squares = 0.0f;
    for (uint d = item; d < D; d += GROUP) sum += x[d];
    float mean = sum_of_group(sum, sums) / D;
    for (uint d = item; d < D; d += GROUP) squares = mad(x[d] - mean, x[d] - mean, squares);
    float scale = 1.0f / sqrt(sum_of_group(squares, sums) / D + eps);
    for (uint d = item; d < D; d += GROUP) y[d] = (x[d] - mean) * scale * w_D[d] + b_D[d];
}
