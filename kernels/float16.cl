// Explicit 16-wide vectors for the CPU family: guarded loads and stores, sums, 16 x 16 transposition.
// Included by the *_cpu.cl kernels; defines no kernel. Valid OpenCL C 1.2.
#ifndef FLOAT16_CL
#define FLOAT16_CL

#if defined(FP_FAST_FMAF) || defined(__FMA__) || defined(__ARM_FEATURE_FMA) // PoCL defines the processor's own only
#define MULTIPLY_ADD fma
#else
#define MULTIPLY_ADD mad
#endif

// Clang's; OpenCL's own prefetch() costs more than it brings on the CPU runtimes.
#if defined(__has_builtin) && !defined(NO_PREFETCH)
#if __has_builtin(__builtin_prefetch)
#define PREFETCH __builtin_prefetch
#endif
#endif
#ifndef PREFETCH
#define PREFETCH(address)
#endif

#define IOTA16 ((int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))

// b where a is NaN; one instruction, unlike fmax.
#define LARGER(a, b) ((a) > (b) ? (a) : (b))

inline float sum16(float16 a) {
    float8 b = a.lo + a.hi;
    float4 c = b.lo + b.hi;
    float2 d = c.lo + c.hi;
    return d.x + d.y;
}

inline float max16(float16 a) {
    float8 b = fmax(a.lo, a.hi);
    float4 c = fmax(b.lo, b.hi);
    float2 d = fmax(c.lo, c.hi);
    return fmax(d.x, d.y);
}

// 2^x for x <= 0, relative error 1.3e-7; 0 below -126. A NaN stays one.
inline float16 exp2_negative(float16 x) {
    float16 shifted = x + 12582912.0f; // 1.5 * 2^23: the last bits are x rounded to an integer
    float16 f = x - (shifted - 12582912.0f);
    float16 p = 1.5403530e-4f;
    p = MULTIPLY_ADD(p, f, (float16)(1.3333558e-3f));
    p = MULTIPLY_ADD(p, f, (float16)(9.6181291e-3f));
    p = MULTIPLY_ADD(p, f, (float16)(5.5504109e-2f));
    p = MULTIPLY_ADD(p, f, (float16)(2.4022651e-1f));
    p = MULTIPLY_ADD(p, f, (float16)(6.9314718e-1f));
    p = MULTIPLY_ADD(p, f, (float16)(1.0f));
    float16 zero = 0.0f;
    return select(as_float16(as_int16(p) + (as_int16(shifted) << 23)), zero, x < -126.0f);
}

// The first `count` values at p, the rest of the 16 zero: nothing past the count is touched.
inline float16 load16_half(__global const half *p, uint count) {
    if (count >= 16) return vload_half16(0, p);
    float t[16] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f,
                   0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    for (uint i = 0; i < count; i++) t[i] = vload_half(i, p);
    return vload16(0, t);
}

inline float16 load16_float(__global const float *p, uint count) {
    if (count >= 16) return vload16(0, p);
    float t[16] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f,
                   0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    for (uint i = 0; i < count; i++) t[i] = p[i];
    return vload16(0, t);
}

inline void store16_float(float16 a, __global float *p, uint count) {
    if (count >= 16) {
        vstore16(a, 0, p);
        return;
    }
    float t[16];
    vstore16(a, 0, t);
    for (uint i = 0; i < count; i++) p[i] = t[i];
}

inline float16 interleave_lo(float16 a, float16 b) {
    return (float16)(a.s0, b.s0, a.s1, b.s1, a.s2, b.s2, a.s3, b.s3,
                     a.s4, b.s4, a.s5, b.s5, a.s6, b.s6, a.s7, b.s7);
}

inline float16 interleave_hi(float16 a, float16 b) {
    return (float16)(a.s8, b.s8, a.s9, b.s9, a.sa, b.sa, a.sb, b.sb,
                     a.sc, b.sc, a.sd, b.sd, a.se, b.se, a.sf, b.sf);
}

// Four perfect shuffles of sixteen vectors transpose them. Vectors are named <letter>0 to <letter>15.
#define REPEAT16(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11) f(12) f(13) f(14) f(15)
#define SHUFFLE_PAIR(A, B, i, j, p, q) \
    float16 B##p = interleave_lo(A##i, A##j), B##q = interleave_hi(A##i, A##j);
#define SHUFFLE(A, B)                                                             \
    SHUFFLE_PAIR(A, B, 0, 8, 0, 1) SHUFFLE_PAIR(A, B, 1, 9, 2, 3)                 \
    SHUFFLE_PAIR(A, B, 2, 10, 4, 5) SHUFFLE_PAIR(A, B, 3, 11, 6, 7)               \
    SHUFFLE_PAIR(A, B, 4, 12, 8, 9) SHUFFLE_PAIR(A, B, 5, 13, 10, 11)             \
    SHUFFLE_PAIR(A, B, 6, 14, 12, 13) SHUFFLE_PAIR(A, B, 7, 15, 14, 15)

// Sixteen rows of 16 halves, `row_stride` halves apart, become 16 columns: out[k * out_stride + row].
// Rows at and past `rows` repeat the last one; columns at and past `columns` are zero.
inline void transpose16_half(__global const half *p, ulong row_stride, uint rows, uint columns,
                             float *out, uint out_stride) {
#define LOAD_ROW(i) float16 a##i = load16_half(p + (ulong)min((uint)i, rows - 1) * row_stride, columns);
    REPEAT16(LOAD_ROW)
    SHUFFLE(a, b) SHUFFLE(b, c) SHUFFLE(c, d) SHUFFLE(d, e)
#define STORE_COLUMN(i) vstore16(e##i, 0, out + i * out_stride);
    REPEAT16(STORE_COLUMN)
#undef LOAD_ROW
#undef STORE_COLUMN
}

#endif
