// Rotates queries and keys by their positions and stores keys and values in the paged cache; portable.
// Pair (a, b) of a head, with the angle of its position: a' = a cos - b sin, b' = b cos + a sin.
//
// q_THK      float32 in/out  [T, H, K], rotated in place
// k_TGK      float32 in      [T, G, K]
// v_TGK      float32 in      [T, G, K]
// angles     float32 in      [T, K / 2, 2]: cosine and sine
// slots_T    int32 in        [T], block * BLOCK + position within the block
// k_cache, v_cache  float16 out  [blocks, G, BLOCK, K]; or Q8_0, as cached_rows.cl has it
// Global size (at least K / 2 * (H + 2 * G), T), any local size: an item has one pair of a query, key or value head.
// Of Q8_0 (at least K / 2 * H + 2 * G * ceil(K / 32), T): an item has a pair of a query, or 32 elements of a key or value.

#ifndef K
#define K 64 // head width; even
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

#include "cached_rows.cl"
#include "q8_0.cl"

#define ROTATES(pair) (ROTARY == K || (pair) < ROTARY / 2)
#define FIRST(pair) (ADJACENT ? 2 * (pair) : ROTATES(pair) ? (pair) : (pair) + ROTARY / 2)
#define SECOND(pair) (ADJACENT ? 2 * (pair) + 1 : (pair) + (ROTATES(pair) ? ROTARY / 2 : K / 2))

// Element k of a head after its rotation; without angles as it is.
inline float rotated(__global const float *x, __global const float *angles, uint k) {
    if (angles == 0) return x[k];
#if ADJACENT
    uint pair = k / 2, second = k % 2, other = k ^ 1;
#else
    uint begin = k < ROTARY ? 0 : ROTARY, apart = (k < ROTARY ? ROTARY : K - ROTARY) / 2, second = k - begin >= apart;
    uint pair = k - begin / 2 - second * apart, other = second ? k - apart : k + apart;
#endif
    float c = angles[2 * pair], s = angles[2 * pair + 1];
    return second ? x[k] * c + x[other] * s : x[k] * c - x[other] * s;
}

__kernel void rope_store(__global float *q_THK, __global const float *k_TGK, __global const float *v_TGK,
                         __global const float *angles, __global const int *slots_T,
                         __global Cached *k_cache, __global Cached *v_cache, uint H, uint G) {
    uint pair = get_global_id(0) % (K / 2), head = get_global_id(0) / (K / 2), t = get_global_id(1);
    uint i = FIRST(pair), j = SECOND(pair);
    float c = angles[((ulong)t * (K / 2) + pair) * 2], s = angles[((ulong)t * (K / 2) + pair) * 2 + 1];
    if (head < H) {
        __global float *q = q_THK + ((ulong)t * H + head) * K;
        float a = q[i], b = q[j];
        q[i] = a * c - b * s;
        q[j] = b * c + a * s;
        return;
    }
    ulong slot = (ulong)slots_T[t];
#if CACHE_Q8_0
    uint group = get_global_id(0) - H * (K / 2), k0 = group % GROUPS * 32, count = min(32u, K - k0), at = slot % BLOCK;
    head = group / GROUPS; // keys, then values
    if (head >= 2 * G) return;
    __global const float *source = (head < G ? k_TGK : v_TGK) + ((ulong)t * G + head % G) * K;
    __global const float *own_angles = head < G ? angles + (ulong)t * K : 0;
    float largest = 0.0f; // elements are rotated twice: an item keeps no array of them
    for (uint k = k0; k < k0 + count; k++) largest = fmax(largest, fabs(rotated(source, own_angles, k)));
    float scale = q8_0_scale(largest), factor = q8_0_factor(scale);
    __global char *unit = (head < G ? k_cache : v_cache) + (slot / BLOCK * G + head % G) * UNIT;
    vstore_half(scale, k0 / 32 * BLOCK + at, (__global half *)(unit + BLOCK * K));
    for (uint k = k0; k < k0 + count; k++) unit[at * K + k] = q8_0_byte(rotated(source, own_angles, k), factor);
#else
    if (head >= H + 2 * G) return;
    uint g = (head - H) % G;
    ulong cached = ((slot / BLOCK * G + g) * BLOCK + slot % BLOCK) * K;
    ulong source = ((ulong)t * G + g) * K;
    if (head < H + G) {
        float a = k_TGK[source + i], b = k_TGK[source + j];
        vstore_half(a * c - b * s, cached + i, k_cache);
        vstore_half(b * c + a * s, cached + j, k_cache);
    } else {
        vstore_half(v_TGK[source + i], cached + i, v_cache);
        vstore_half(v_TGK[source + j], cached + j, v_cache);
    }
#endif
}
