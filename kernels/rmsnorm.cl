// y[r, d] = x[s, d] / sqrt(mean over d of x[s, d]^2 + eps) * w[d], s = rows[r]; portable.
//
// x_TD    float32 in   [T, D]
// w_D     float32 in   [D]
// rows_R  int32 in     [R], the rows of x to take; read when gather is 1, else s = r
// y_RD    float32 out  [R, D]; may be x itself when gather is 0
// Global size (R * GROUP), local size (GROUP). Accumulator: float32.
// A work-group normalises a row; its items, which read four neighbours at once, add up their squares in local memory.

#ifndef GROUP
#define GROUP 64 // work-items a row; a power of two; 256 is for devices where one row must be fast
#endif
#ifndef ALIGNED
#define ALIGNED 0 // 1: D is a multiple of 4
#endif

#if ALIGNED // drivers may read an unaligned vector element by element
#define LOAD4(p) (*(__global const float4 *)(p))
#define STORE4(a, p) (*(__global float4 *)(p) = (a))
#else
#define LOAD4(p) vload4(0, p)
#define STORE4(a, p) vstore4(a, 0, p)
#endif

__kernel void rmsnorm(__global const float *x_TD, __global const float *w_D, __global const int *rows_R,
                      __global float *y_RD, uint D, float eps, uint gather) {
    __local float squares[GROUP];
    uint r = get_group_id(0), item = get_local_id(0), whole = D / 4 * 4;
    __global const float *x = x_TD + (gather ? (ulong)rows_R[r] : (ulong)r) * D;
    __global float *y = y_RD + (ulong)r * D;
    float sum = 0.0f;
    for (uint d = item * 4; d < whole; d += GROUP * 4) {
        float4 a = LOAD4(x + d);
        sum += dot(a, a);
    }
    for (uint d = whole + item; d < D; d += GROUP) sum = mad(x[d], x[d], sum);
    squares[item] = sum;
    for (uint half_group = GROUP / 2; half_group > 0; half_group /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE); // the sums of the previous round are all written
        if (item < half_group) squares[item] += squares[item + half_group];
    }
    barrier(CLK_LOCAL_MEM_FENCE); // the total is written before every item reads it
    float scale = 1.0f / sqrt(squares[0] / D + eps);
    for (uint d = item * 4; d < whole; d += GROUP * 4) STORE4(LOAD4(x + d) * scale * LOAD4(w_D + d), y + d);
    for (uint d = whole + item; d < D; d += GROUP) y[d] = x[d] * scale * w_D[d];
}
