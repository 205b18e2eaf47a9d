// Rotates queries and keys by their positions and stores keys and values in the paged cache; portable.
// Pair (a, b) of a head, with the angle of its position: a' = a cos - b sin, b' = b cos + a sin.
//
// q_THK      float32 in/out  [T, H, K], rotated in place
// k_TGK      float32 in      [T, G, K]
// v_TGK      float32 in      [T, G, K]
// angles     float32 in      [T, K / 2, 2]: cosine and sine
// slots_T    int32 in        [T], block * BLOCK + position within the block
// k_cache, v_cache  float16 out  [blocks, G, BLOCK, K]
// Global size (at least K / 2 * (H + 2 * G), T), any local size: an item has one pair of a query, key or value head.

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

#define ROTATES(pair) (ROTARY == K || (pair) < ROTARY / 2)
#define FIRST(pair) (ADJACENT ? 2 * (pair) : ROTATES(pair) ? (pair) : (pair) + ROTARY / 2)
#define SECOND(pair) (ADJACENT ? 2 * (pair) + 1 : (pair) + (ROTATES(pair) ? ROTARY / 2 : K / 2))

__kernel void rope_store(__global float *q_THK, __global const float *k_TGK, __global const float *v_TGK,
                         __global const float *angles, __global const int *slots_T,
                         __global half *k_cache, __global half *v_cache, uint H, uint G) {
    uint pair = get_global_id(0) % (K / 2), head = get_global_id(0) / (K / 2), t = get_global_id(1);
    if (head >= H + 2 * G) return;
    uint i = FIRST(pair), j = SECOND(pair);
    float c = angles[((ulong)t * (K / 2) + pair) * 2], s = angles[((ulong)t * (K / 2) + pair) * 2 + 1];
    if (head < H) {
        __global float *q = q_THK + ((ulong)t * H + head) * K;
        float a = q[i], b = q[j];
        q[i] = a * c - b * s;
        q[j] = b * c + a * s;
        return;
    }
    uint g = (head - H) % G;
    ulong slot = (ulong)slots_T[t];
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
}
