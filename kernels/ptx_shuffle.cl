// NVIDIA only, compute capability 7.0 and newer: sums across the 32 items of a warp by inline PTX. Included; no kernel.
#ifndef PTX_SHUFFLE_CL
#define PTX_SHUFFLE_CL

#ifndef __NV_CL_C_VERSION
#error "PTX is NVIDIA's"
#endif

inline float shuffle_xor(float value, uint mask) {
    float other;
    __asm__ volatile("shfl.sync.bfly.b32 %0, %1, %2, 31, 0xffffffff;" : "=f"(other) : "f"(value), "r"(mask));
    return other;
}

// The sum over the warp, in every item of it; all 32 items call it together.
inline float warp_sum(float value) {
    for (uint mask = 16; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
    return value;
}

#endif
