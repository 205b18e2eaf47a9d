// values[i] = amplitude * u, u uniform in [-1, 1) by a hash of i and a seed: weights for a bench. Both families.
// The hash is lowbias32 (Chris Wellons, "Prospecting for hash functions", 2018), once before the seed and once after.
//
// values  float16 out  [count]
// i counts from `first`. Global size: at least count / 16, rounded up; local size: any.

inline uint16 hash(uint16 x) {
    x = (x ^ (x >> 16)) * 0x7feb352dU;
    x = (x ^ (x >> 15)) * 0x846ca68bU;
    return x ^ (x >> 16);
}

__kernel void fill_random(__global half *values, ulong count, ulong first, uint seed, float amplitude) {
    ulong i = (ulong)get_global_id(0) * 16;
    if (i >= count) return;
    uint16 index = (uint16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) + (uint)(first + i);
    uint16 bits = hash(hash(index) ^ seed) >> 8; // 24 of them, which a float holds exactly
    float16 u = convert_float16(bits) * 0x1p-23f - 1.0f;
    if (i + 16 <= count) {
        vstore_half16(u * amplitude, 0, values + i);
        return;
    }
    float t[16];
    vstore16(u * amplitude, 0, t);
    for (uint k = 0; i + k < count; k++) vstore_half(t[k], k, values + i);
}
