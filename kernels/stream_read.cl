// sums[i] = xor of what work-item i read of `data`: as fast as the device reads memory. Both families.
//
// data    uint in    [vectors, 16], vectors = work-items * rounds * 4
// sums    uint out   [work-items]
// Global size: any; local size: any.
// CONTIGUOUS 1 (CPU): an item reads one piece from front to back. 0 (GPU): neighbours read neighbouring vectors.

#ifndef CONTIGUOUS
#define CONTIGUOUS 0
#endif

__kernel void stream_read(__global const uint *data, __global uint *sums, uint rounds) {
    size_t item = get_global_id(0), items = get_global_size(0);
    size_t at = CONTIGUOUS ? item * rounds * 4 : item, step = CONTIGUOUS ? 1 : items;
    uint16 a = 0, b = 0, c = 0, d = 0;
    for (uint i = 0; i < rounds; i++) {
        a ^= vload16(at, data);
        b ^= vload16(at + step, data);
        c ^= vload16(at + 2 * step, data);
        d ^= vload16(at + 3 * step, data);
        at += 4 * step;
    }
    uint16 e = a ^ b ^ c ^ d;
    uint8 f = e.lo ^ e.hi;
    uint4 g = f.lo ^ f.hi;
    sums[item] = g.x ^ g.y ^ g.z ^ g.w;
}
