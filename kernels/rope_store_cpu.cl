// Rotates queries and keys by their positions and stores keys and values in the paged cache; CPU family.
// Pair (a, b) of a head, with the angle of its position: a' = a cos - b sin, b' = b cos + a sin.
//
// q_THK      float32 in/out  [T, H, K], rotated in place
// k_TGK      float32 in      [T, G, K]
// v_TGK      float32 in      [T, G, K]
// angles     float32 in      [T, K / 2, 2]: cosine and sine
// slots_T    int32 in        [T], block * BLOCK + position within the block
// k_cache    float16 out     [blocks, G, K, BLOCK]
// v_cache    float16 out     [blocks, G, K / PANEL, BLOCK, PANEL]
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

#define ROTATES(pair) (ROTARY == K || (pair) < ROTARY / 2)
#define FIRST(pair) (ADJACENT ? 2 * (pair) : ROTATES(pair) ? (pair) : (pair) + ROTARY / 2)
#define SECOND(pair) (ADJACENT ? 2 * (pair) + 1 : (pair) + (ROTATES(pair) ? ROTARY / 2 : K / 2))

__kernel void rope_store(__global float *q_THK, __global const float *k_TGK, __global const float *v_TGK,
                         __global const float *angles, __global const int *slots_T,
                         __global half *k_cache, __global half *v_cache, uint H, uint G) {
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
        ulong block = (slot / BLOCK * G + g) * (BLOCK * K);
        ulong key = block + slot % BLOCK, value = block + slot % BLOCK * PANEL;
        __global const float *k = k_TGK + ((ulong)t * G + g) * K, *v = v_TGK + ((ulong)t * G + g) * K;
        for (uint i = 0; i < K / 2; i++) {
            float a = k[FIRST(i)], b = k[SECOND(i)];
            vstore_half(a * c[i] - b * s[i], key + FIRST(i) * BLOCK, k_cache);
            vstore_half(b * c[i] + a * s[i], key + SECOND(i) * BLOCK, k_cache);
        }
        for (uint i = 0; i < K; i++) vstore_half(v[i], value + i / PANEL * (PANEL * BLOCK) + i % PANEL, v_cache);
    }
}
