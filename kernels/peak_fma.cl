// Float32 multiply-adds as fast as the device does them, in 12 independent chains s = s * a + b. Both families.
//
// sums  float32 out  [work-items]: the sum of an item's chains
// Global size: any; local size: any. FLOPs: work-items * rounds * 12 * 2 * VECTOR.

#include "float16.cl"

#ifndef VECTOR
#define VECTOR 1 // floats of a chain: 1, 8 or 16
#endif

#if VECTOR == 1
typedef float chain;
inline float sum(chain s) { return s; }
#elif VECTOR == 8
typedef float8 chain;
inline float sum(chain s) { return sum16((float16)(s, (float8)(0.0f))); }
#else
typedef float16 chain;
inline float sum(chain s) { return sum16(s); }
#endif

#define EACH12(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11)

__kernel void peak_fma(__global float *sums, float a, float b, uint rounds) {
    uint item = get_global_id(0);
    chain factor = a, addend = b, total = 0.0f;
#define START(i) chain s##i = (float)(item + i);
    EACH12(START)
    for (uint r = 0; r < rounds; r++) {
#define STEP(i) s##i = MULTIPLY_ADD(s##i, factor, addend);
        EACH12(STEP)
    }
#define ADD(i) total += s##i;
    EACH12(ADD)
    sums[item] = sum(total);
}
