// halves[i] = values[i] rounded to the nearest float16, ties to even: weights on their way to a device. Both families.
//
// values    float32 in, or bfloat16's bits with -D BF16=1   [count]
// halves    float16 out    written from `first` on
// too_large uint32 in/out  [1]; becomes 1 where a value rounds to no finite float16 or is none, else stays
// Global size: at least count / 16, rounded up; local size: any.

#ifndef BF16
#define BF16 0
#endif

#define BEYOND 0x477ff000U // the bits of 65520.0f, the smallest that rounds to infinity; NaN's are above them, too

#if BF16
typedef ushort Stored;
#define BITS(i) ((uint)values[i] << 16)
#define BITS16(i) (convert_uint16(vload16(0, values + (i))) << 16)
#else
typedef float Stored;
#define BITS(i) as_uint(values[i])
#define BITS16(i) as_uint16(vload16(0, values + (i)))
#endif

__kernel void to_half(__global const Stored *values, uint count, __global half *halves, ulong first,
                      __global uint *too_large) {
    uint i = (uint)get_global_id(0) * 16;
    if (i >= count) return;
    int beyond = 0;
    if (count - i >= 16) {
        uint16 bits = BITS16(i);
        vstore_half16_rte(as_float16(bits), 0, halves + first + i);
        beyond = any((bits & 0x7fffffffU) >= BEYOND);
    } else {
        for (; i < count; i++) {
            vstore_half_rte(as_float(BITS(i)), first + i, halves);
            beyond |= (BITS(i) & 0x7fffffffU) >= BEYOND;
        }
    }
    if (beyond) atomic_or(too_large, 1U);
}
