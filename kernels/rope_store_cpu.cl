// Rotates queries and keys by their positions and stores keys and values in the paged cache; CPU family.
// Pair (a, b) of a head, with the angle of its position: a' = a cos - b sin, b' = b cos + a sin.
//
// q_THK      float32 in/out  [T, H, K], rotated in place
// k_TGK      float32 in      [T, G, K]
// v_TGK      float32 in      [T, G, K]
// angles     float32 in      [T, K / 2, 2]: cosine and sine
// slots_T    int32 in        [T], block * BLOCK + position within the block
// k_cache    float16 out     [blocks, G, K, BLOCK]; or Q8_0, as cached_lanes.cl has it
// v_cache    float16 out     [blocks, G, K / PANEL, BLOCK, PANEL]; likewise
// Global size (T), local size (1): an item has all heads of a token.

#ifndef K
#define K 64 // head width; even
#endif
#ifndef PANEL
#define PANEL 32 // elements of a value that lie together; a divisor of K
#endif
#ifndef BLOCK
#define BLOCK 32 // positions in a block of the cache
#endif
#ifndef ADJACENT
#define ADJACENT 0 // pairs: 1 (2i, 2i + 1), 0 (i, i + ROTARY / 2)
#endif
#ifndef ROTARY
#define ROTARY K // channels of a head that rotate, the first ones; of the others, pairs (i, i + (K - ROTARY) / 2)
#endif
#ifndef CACHE_Q8_0
#define CACHE_Q8_0 0 // 1: the cache holds Q8_0
#endif

#include "cached_lanes.cl"
#include "q8_0.cl"

#define ROTATES(pair) (ROTARY == K || (pair) < ROTARY / 2)
#define FIRST(pair) (ADJACENT ? 2 * (pair) : ROTATES(pair) ? (pair) : (pair) + ROTARY / 2)
#define SECOND(pair) (ADJACENT ? 2 * (pair) + 1 : (pair) + (ROTATES(pair) ? ROTARY / 2 : K / 2))

__kernel void rope_store(__global float *q_THK, __global const float *k_TGK, __global const float *v_TGK,
                         __global const float *angles, __global const int *slots_T,
                         __global Cached *k_cache, __global Cached *v_cache, uint H, uint G) {
    uint t = get_global_id(0);
    float c[K / 2], s[K / 2];
    for (uint i = 0; i < K / 2; i++) {
        c[i] = angles[((ulong)t * (K / 2) + i) * 2];
        s[i] = angles[((ulong)t * (K / 2) + i) * 2 + 1];
    }
    for (uint head = 0; head < H; head++) {
        __global float *q = q_THK + ((ulong)t * H + head) * K;
        for (uint i = 0; i < K / 2; i++) {
            float a = q[FIRST(i)], b = q[SECOND(i)];
            q[FIRST(i)] = a * c[i] - b * s[i];
            q[SECOND(i)] = b * c[i] + a * s[i];
        }
    }
    ulong slot = (ulong)slots_T[t];
    for (uint g = 0; g < G; g++) {
        ulong unit = (slot / BLOCK * G + g) * UNIT;
        uint at = slot % BLOCK;
        __global const float *k = k_TGK + ((ulong)t * G + g) * K, *v = v_TGK + ((ulong)t * G + g) * K;
        float key[K];
        for (uint i = 0; i < K / 2; i++) {
            float a = k[FIRST(i)], b = k[SECOND(i)];
            key[FIRST(i)] = a * c[i] - b * s[i];
            key[SECOND(i)] = b * c[i] + a * s[i];
        }
#if CACHE_Q8_0
        for (uint i = 0; i < K; i += 32) {
            uint count = min(32u, K - i);
            float k_largest = 0.0f, v_largest = 0.0f;
            for (uint e = i; e < i + count; e++) {
                k_largest = fmax(k_largest, fabs(key[e]));
                v_largest = fmax(v_largest, fabs(v[e]));
            }
            float k_scale = q8_0_scale(k_largest), k_factor = q8_0_factor(k_scale);
            float v_scale = q8_0_scale(v_largest), v_factor = q8_0_factor(v_scale);
            vstore_half(k_scale, i / 32 * BLOCK + at, (__global half *)(k_cache + unit + BLOCK * K));
            vstore_half(v_scale, i / 32 * BLOCK + at, (__global half *)(v_cache + unit + BLOCK * K));
            for (uint e = i; e < i + count; e++) {
                k_cache[unit + e * BLOCK + at] = q8_0_byte(key[e], k_factor);
                v_cache[unit + VALUE_AT(at, e)] = q8_0_byte(v[e], v_factor);
            }
        }
#else
        for (uint i = 0; i < K; i++) {
            vstore_half(key[i], unit + i * BLOCK + at, k_cache);
            vstore_half(v[i], unit + VALUE_AT(at, i), v_cache);
        }
#endif
    }
}
