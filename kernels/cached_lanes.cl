// How the CPU family's kernels read keys and values of the paged cache: vectors of sixteen. Included; defines no kernel.
// Valid OpenCL C 1.2.
//
// A block's positions of one head are UNIT elements of the type Cached, keys [K, BLOCK] and values [K / PANEL, BLOCK,
// PANEL]: float16; or Q8_0: bytes in that order, then float16 scales [GROUPS, BLOCK], one for every 32 elements of a
// position; an element is its scale times its byte. Elements of SCALED neighbours share what keys_scale gives.
#ifndef CACHED_LANES_CL
#define CACHED_LANES_CL

#ifndef CACHE_Q8_0
#define CACHE_Q8_0 0 // 1: the cache holds Q8_0
#endif
#ifndef PANEL
#define PANEL 32 // elements of a value that lie together; a divisor of K
#endif

#include "float16.cl"

// Where elements k and after of a value at position s are, up to the end of their panel.
#define VALUE_AT(s, k) ((k) / PANEL * (PANEL * BLOCK) + (s) * PANEL + (k) % PANEL)

#if CACHE_Q8_0
typedef char Cached;
#define GROUPS ((K + 31) / 32)
#define UNIT (BLOCK * (K + 2 * GROUPS))
#define SCALED 32

// The scales of sixteen positions, the first or the second of a block, for elements k to k + 31.
inline float16 keys_scale(__global const char *unit, uint k, uint second) {
    return vload_half16(k / 32 * (BLOCK / 16) + second, (__global const half *)(unit + BLOCK * K));
}

inline float16 load_keys(__global const char *unit, uint k, uint second, float16 scale) {
    return convert_float16(vload16(second, unit + k * BLOCK)) * scale;
}

// Elements k to k + 15 of the value at position s, k a multiple of sixteen; zeros from K on.
inline float16 load_value(__global const char *unit, uint s, uint k) {
    float scale = vload_half(k / 32 * BLOCK + s, (__global const half *)(unit + BLOCK * K));
    __global const char *p = unit + VALUE_AT(s, k);
#if K % 16 == 0
    return convert_float16(vload16(0, p)) * scale;
#else
    float t[16] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f,
                   0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    for (uint i = 0; i < min(16u, K - k); i++) t[i] = p[i];
    return vload16(0, t) * scale;
#endif
}

#else
typedef half Cached;
#define UNIT (BLOCK * K)
#define SCALED K

inline float16 keys_scale(__global const half *unit, uint k, uint second) { return 1.0f; }

inline float16 load_keys(__global const half *unit, uint k, uint second, float16 scale) {
    return vload_half16(second, unit + k * BLOCK);
}

inline float16 load_value(__global const half *unit, uint s, uint k) {
    return load16_half(unit + VALUE_AT(s, k), K % 16 == 0 ? 16 : K - k);
}
#endif

#endif
