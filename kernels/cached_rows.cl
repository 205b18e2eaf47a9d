// How the portable kernels read keys and values of the paged cache: eight elements of a position's at once. Included;
// defines no kernel. Valid OpenCL C 1.2.
//
// A block's positions of one head are UNIT elements of the type Cached. Float16: [BLOCK, K]. Q8_0: bytes [BLOCK, K], then
// float16 scales [GROUPS, BLOCK], one for every 32 elements of a position; an element is its scale times its byte.
// In local memory a position is a row of ROW_WORDS words.
#ifndef CACHED_ROWS_CL
#define CACHED_ROWS_CL

#ifndef CACHE_Q8_0
#define CACHE_Q8_0 0 // 1: the cache holds Q8_0
#endif

#include "half_rows.cl"

#define OCTETS ((K + 7) / 8) // groups of eight elements

#if CACHE_Q8_0
typedef char Cached;
#define GROUPS ((K + 31) / 32)
#define UNIT (BLOCK * (K + 2 * GROUPS))
#define ROW_WORDS (OCTETS * 2 + GROUPS + 1 + GROUPS % 2) // odd: neighbours lie in different banks

inline float load_scale(__global const char *unit, uint s, uint k) {
    return vload_half(k / 32 * BLOCK + s, (__global const half *)(unit + BLOCK * K));
}

// Four elements as the bytes of a word, zeros from K on.
inline uint load4_chars(__global const char *unit, uint s, uint k) {
#if K % 4 == 0
    return k < K ? *(__global const uint *)(unit + s * K + k) : 0;
#else
    uint bits = 0;
    for (uint i = 0; i < 4 && k + i < K; i++) bits |= (uint)(uchar)unit[s * K + k + i] << 8 * i;
    return bits;
#endif
}

inline float8 scaled8(uint a, uint b, float scale) {
    return scale * (float8)((float)(char)(a & 255), (float)(char)(a >> 8 & 255), (float)(char)(a >> 16 & 255),
                            (float)(char)(a >> 24), (float)(char)(b & 255), (float)(char)(b >> 8 & 255),
                            (float)(char)(b >> 16 & 255), (float)(char)(b >> 24));
}

// Elements k to k + 7 of position s of a block, k a multiple of eight; zeros from K on.
inline float8 load8_cached(__global const char *unit, uint s, uint k) {
    return scaled8(load4_chars(unit, s, k), load4_chars(unit, s, k + 4), load_scale(unit, s, k));
}

inline void copy8_cached(__global const char *unit, uint s, uint k, __local uint *row) {
    row[k / 4] = load4_chars(unit, s, k);
    row[k / 4 + 1] = load4_chars(unit, s, k + 4);
    if (k % 32 == 0) row[OCTETS * 2 + k / 32] = as_uint(load_scale(unit, s, k));
}

inline float8 local8_cached(__local const uint *row, uint k) {
    return scaled8(row[k / 4], row[k / 4 + 1], as_float(row[OCTETS * 2 + k / 32]));
}

#else
typedef half Cached;
#define UNIT (BLOCK * K)
#define ROW_WORDS (OCTETS * 4 + 4) // in different banks, too

inline float8 load8_cached(__global const half *unit, uint s, uint k) {
    return load8_half_ending(unit + s * K + k, (int)(K - k));
}

inline void copy8_cached(__global const half *unit, uint s, uint k, __local uint *row) {
    copy8_half(unit + s * K + k, (int)(K - k), row + k / 2);
}

inline float8 local8_cached(__local const uint *row, uint k) { return local8_half(row + k / 2); }
#endif

#endif
