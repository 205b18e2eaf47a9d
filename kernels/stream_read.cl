// sums[i] = xor of what work-item i read of `data`: as fast as the device reads memory. Both families.
//
// data    uint in    [vectors, 16], vectors = work-items * rounds * STREAMS
// sums    uint out   [work-items]
// Global size: any; local size: any.
// CONTIGUOUS 1 (CPU): an item reads STREAMS pieces side by side, each from front to back: a core's prefetchers follow
// several at once, and reach more bandwidth with 8 to 16 of them than with one, and more again if each vector is asked for
// ahead of its use. 0 (GPU): neighbours read neighbours.

#include "float16.cl"

#ifndef CONTIGUOUS
#define CONTIGUOUS 0
#endif
#ifndef STREAMS
#define STREAMS 4
#endif
#define AHEAD 8 // vectors

__kernel void stream_read(__global const uint *data, __global uint *sums, uint rounds) {
    size_t item = get_global_id(0), items = get_global_size(0);
    uint16 a[STREAMS];
#pragma unroll
    for (uint s = 0; s < STREAMS; s++) a[s] = 0;
    for (uint i = 0; i < rounds; i++) {
#pragma unroll
        for (uint s = 0; s < STREAMS; s++) {
            size_t at = CONTIGUOUS ? (item * STREAMS + s) * rounds + i : ((size_t)i * STREAMS + s) * items + item;
            if (CONTIGUOUS) PREFETCH(data + (at + AHEAD) * 16);
            a[s] ^= vload16(at, data);
        }
    }
#pragma unroll
    for (uint s = 1; s < STREAMS; s++) a[0] ^= a[s];
    uint8 b = a[0].lo ^ a[0].hi;
    uint4 c = b.lo ^ b.hi;
    sums[item] = c.x ^ c.y ^ c.z ^ c.w;
}
