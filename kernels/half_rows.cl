// Eight neighbouring halves at once, for the portable kernels. Included; defines no kernel. Valid OpenCL C 1.2.
#ifndef HALF_ROWS_CL
#define HALF_ROWS_CL

// A GPU keeps small arrays in registers where the loops over them are unrolled; a CPU's compiler takes long over that.
#ifdef GPU // set for every kernel that is built for one
#define UNROLL _Pragma("unroll")
#else
#define UNROLL
#endif

#ifndef ALIGNED
#define ALIGNED 0 // 1: groups of eight halves start at multiples of 16 bytes, of eight floats at 32
#endif

inline float2 halves_of(uint bits) { return vload_half2(0, (const half *)&bits); }

// Vectors are put together by elements: Oclgrind's check of uninitialised values does not survive it otherwise.
inline float8 halves8_of(uint4 bits) {
    float2 a = halves_of(bits.x), b = halves_of(bits.y), c = halves_of(bits.z), d = halves_of(bits.w);
    return (float8)(a.x, a.y, b.x, b.y, c.x, c.y, d.x, d.y);
}

inline float8 floats8_of(float4 a, float4 b) { return (float8)(a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w); }

// Drivers may read an unaligned vector element by element: aligned rows are read as the words they are.
inline float8 load8_half(__global const half *p) {
#if ALIGNED
    return halves8_of(*(__global const uint4 *)p);
#else
    return vload_half8(0, p);
#endif
}

inline float8 load8_float(__global const float *p) {
#if ALIGNED
    __global const float4 *q = (__global const float4 *)p;
    return floats8_of(q[0], q[1]);
#else
    return vload8(0, p);
#endif
}

// The first `count` of the eight, the rest zero: nothing past the count is touched.
inline float8 load8_half_ending(__global const half *p, int count) {
    if (count >= 8) return load8_half(p);
    float t[8] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
#if !ALIGNED // aligned rows end with a group of eight
    for (int i = 0; i < count; i++) t[i] = vload_half(i, p);
#endif
    return vload8(0, t);
}

inline float8 load8_float_ending(__global const float *p, int count) {
    if (count >= 8) return load8_float(p);
    float t[8] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
#if !ALIGNED
    for (int i = 0; i < count; i++) t[i] = p[i];
#endif
    return vload8(0, t);
}

// Eight halves to local memory as they are, zeros past `count`; `out` and the loads from there are 16-byte aligned.
inline void copy8_half(__global const half *p, int count, __local uint *out) {
#if ALIGNED
    *(__local uint4 *)out = *(__global const uint4 *)p;
#else
    vstore_half8(load8_half_ending(p, count), 0, (__local half *)out);
#endif
}

inline float8 local8_half(__local const uint *p) { return halves8_of(*(__local const uint4 *)p); }

inline float8 local8_float(__local const float *p) {
    __local const float4 *q = (__local const float4 *)p;
    return floats8_of(q[0], q[1]);
}

// sum + a . b
inline float dot8(float8 a, float8 b, float sum) {
    sum = mad(a.s0, b.s0, sum);
    sum = mad(a.s1, b.s1, sum);
    sum = mad(a.s2, b.s2, sum);
    sum = mad(a.s3, b.s3, sum);
    sum = mad(a.s4, b.s4, sum);
    sum = mad(a.s5, b.s5, sum);
    sum = mad(a.s6, b.s6, sum);
    return mad(a.s7, b.s7, sum);
}

#endif
