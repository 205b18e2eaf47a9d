// Activations rounded to integers in groups of columns, for products of integers; CPU family.
// Included; defines the functions that make and use them. OpenCL C 1.2 but for a vector of 32, which Clang has.
//
// A record of RECORD uint32 stands for 32 columns of a row: x[d] = unit * number[d], numbers within +-LARGEST, and has
//   16 pairs of numbers, pair 2 g those of columns 4 g and 4 g + 2 (low half, high half), pair 2 g + 1 of 4 g + 1, 4 g + 3
//   unit, float32
//   3 sums of x as it is rounded, float32: of the first 16 columns, of the others, of all
//   LEVELS 2: 16 pairs of what the numbers lack, in parts of 65536: x[d] = unit * (number[d] + rest[d] / 65536)
#ifndef BLOCK_COLUMNS_CL
#define BLOCK_COLUMNS_CL

#include "float16.cl"

#ifndef HALVES
#define HALVES 1
#endif

#ifndef LEVELS
#define LEVELS 1
#endif

#ifndef LARGEST
#define LARGEST 32767
#endif

#define RECORD (4 + 16 * LEVELS)
#define RECORD_REST 20
#define RECORD_UNIT 16
#define RECORD_TOTALS(h) (HALVES == 2 ? 17 + (h) : 19)

typedef short short32 __attribute__((ext_vector_type(32)));
typedef int int32 __attribute__((ext_vector_type(32)));

#define EVEN32 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD32 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31

// sum + (low half of each lane of q) * (low half of x) + (high half) * (high half), all signed: one instruction or two
// where there are such for pairs of 16 bits. A newer compiler finds them if products are made before they are taken apart.
inline int16 dot_pairs(uint16 q, uint x, int16 sum) {
    short32 a = __builtin_astype(q, short32), b = __builtin_astype((uint16)(x), short32);
#if defined(__AVX512VNNI__) && __has_builtin(__builtin_ia32_vpdpwssd512)
    return __builtin_ia32_vpdpwssd512(sum, __builtin_astype(a, int16), __builtin_astype(b, int16));
#elif defined(__AVX512BW__) && __has_builtin(__builtin_ia32_pmaddwd512)
    return sum + __builtin_astype(__builtin_ia32_pmaddwd512(a, b), int16);
#elif defined(__AVX2__) && __has_builtin(__builtin_ia32_pmaddwd256)
    sum.lo += __builtin_astype(__builtin_ia32_pmaddwd256(a.lo, b.lo), int8);
    sum.hi += __builtin_astype(__builtin_ia32_pmaddwd256(a.hi, b.hi), int8);
    return sum;
#else
    int32 products = __builtin_convertvector(a, int32) * __builtin_convertvector(b, int32);
    return sum + (__builtin_shufflevector(products, products, EVEN32) + __builtin_shufflevector(products, products, ODD32));
#endif
}

inline void store_pairs(int16 a, int16 b, __global uint *pairs) {
    vstore8((as_uint8(a.s014589cd) & 0xFFFFu) | as_uint8(a.s2367abef) << 16, 0, pairs);
    vstore8((as_uint8(b.s014589cd) & 0xFFFFu) | as_uint8(b.s2367abef) << 16, 1, pairs);
}

// The record of the 32 values lo, hi, of which `largest` is at least the largest.
inline void store_record(float16 lo, float16 hi, float largest, __global uint *record) {
    float unit = largest / LARGEST, per_unit = largest > 0.0f ? LARGEST / largest : 0.0f;
    lo *= per_unit, hi *= per_unit;
    float16 first = rint(lo), second = rint(hi);
    int16 a = convert_int16(first), b = convert_int16(second);
    store_pairs(a, b, record);
#if LEVELS == 2
    int16 c = min(convert_int16(rint((lo - first) * 65536.0f)), (int16)(32767));
    int16 d = min(convert_int16(rint((hi - second) * 65536.0f)), (int16)(32767));
    store_pairs(c, d, record + RECORD_REST);
    first += convert_float16(c) * (1.0f / 65536.0f), second += convert_float16(d) * (1.0f / 65536.0f);
#endif
    float2 sums = (float2)(sum16(first), sum16(second)) * unit;
    vstore4((uint4)(as_uint(unit), as_uint(sums.x), as_uint(sums.y), as_uint(sums.x + sums.y)), 4, record);
}

#endif
