// The matrix operations of NVIDIA's tensor cores on tiles in local memory. Included; defines no kernel.
//
// A warp is 32 consecutive work-items, and all items of a work-group use these macros together. EMULATE 0 is inline PTX
// (compute capability 8.0 and newer); EMULATE 1 does the same in plain OpenCL C 1.2 through local memory and barriers,
// with the fragments laid out as the PTX manual has them, so that a kernel that uses these is tested on any device.
// lane = item % 32, group = lane / 4, pair = lane % 4:
//
// MMA_LOCAL                       declares what the emulation needs, at the top of the kernel
// LDMATRIX_X4(r, address)         r[j] = the two halves at 2 * pair of row group of matrix j, a matrix being eight rows of
//                                 eight halves; lanes 8 j to 8 j + 7 have the addresses of the rows of matrix j (16-byte
//                                 aligned, `__local const uint4 *`, in an array `tiles`)
// LDMATRIX_X4_TRANS(r, address)   r[j] = of each matrix, transposed: column group of its rows 2 * pair and + 1
// MMA_16816(c, a, b)              c += a b, a 16 x 16 and b 16 x 8 of float16, c 16 x 8 of float32:
//                                 a[0] row group, columns 2 pair and + 1; a[1] row + 8; a[2] columns + 8; a[3] both
//                                 b[0] rows 2 pair and + 1, column group; b[1] rows + 8; what LDMATRIX_X4 gives of
//                                 columns that lie end to end, and LDMATRIX_X4_TRANS of rows that do
//                                 c[0], c[1] row group, columns 2 pair and + 1; c[2], c[3] row + 8
// COPY_ASYNC(to, from, valid)     16 bytes, or zeros unless valid; `__local uint4 *`, `__global const uint4 *` that may
//                                 be read in any case
// COPY_COMMIT(), COPY_WAIT(n)     closes a set of copies; waits until at most n of an item's newest sets are under way
// SHUFFLE_XOR(y, x, mask)         y = the float32 x of lane ^ mask
// WARP_SYNC()                     the lanes of a warp meet; what follows is not moved before it
// round_halves(x, y)              a function: two float32 as float16, rounded to nearest, x in the lower half
// exp2_near(x)                    a function: 2^x in float32 but for two units in the last place
#ifndef MMA_CL
#define MMA_CL

#ifndef EMULATE
#define EMULATE 0
#endif

#if EMULATE

#define WARP_ITEM (get_local_id(0) % 32)
#define WARP_FIRST (get_local_id(0) / 32 * 32)
#define MMA_LOCAL \
    __local uint mma_a[THREADS * 4], mma_b[THREADS * 2]; \
    __local uint mma_rows[THREADS];

#define LDMATRIX_X4(r, address)                                                                               \
    {                                                                                                         \
        mma_rows[get_local_id(0)] = (uint)((address) - tiles);                                                \
        barrier(CLK_LOCAL_MEM_FENCE); /* the rows' addresses are written before they are read */              \
        for (uint mma_j = 0; mma_j < 4; mma_j++) {                                                            \
            __local const uint *mma_row =                                                                     \
                (__local const uint *)(tiles + mma_rows[WARP_FIRST + mma_j * 8 + WARP_ITEM / 4]);             \
            (r)[mma_j] = mma_row[WARP_ITEM % 4];                                                              \
        }                                                                                                     \
        barrier(CLK_LOCAL_MEM_FENCE); /* they are read before they are written again */                       \
    }

#define LDMATRIX_X4_TRANS(r, address)                                                                         \
    {                                                                                                         \
        mma_rows[get_local_id(0)] = (uint)((address) - tiles);                                                \
        barrier(CLK_LOCAL_MEM_FENCE); /* the rows' addresses are written before they are read */              \
        for (uint mma_j = 0; mma_j < 4; mma_j++) {                                                            \
            uint mma_row = WARP_FIRST + mma_j * 8 + WARP_ITEM % 4 * 2;                                        \
            __local const ushort *mma_even = (__local const ushort *)(tiles + mma_rows[mma_row]);             \
            __local const ushort *mma_odd = (__local const ushort *)(tiles + mma_rows[mma_row + 1]);          \
            (r)[mma_j] = mma_even[WARP_ITEM / 4] | (uint)mma_odd[WARP_ITEM / 4] << 16;                        \
        }                                                                                                     \
        barrier(CLK_LOCAL_MEM_FENCE); /* they are read before they are written again */                       \
    }

#define MMA_16816(c, a, b)                                                                                    \
    {                                                                                                         \
        for (uint mma_j = 0; mma_j < 4; mma_j++) mma_a[get_local_id(0) * 4 + mma_j] = (a)[mma_j];             \
        for (uint mma_j = 0; mma_j < 2; mma_j++) mma_b[get_local_id(0) * 2 + mma_j] = (b)[mma_j];             \
        barrier(CLK_LOCAL_MEM_FENCE); /* the fragments are written before others read them */                 \
        for (uint mma_i = 0; mma_i < 4; mma_i++) {                                                            \
            uint mma_column = WARP_ITEM % 4 * 2 + mma_i % 2;                                                  \
            float mma_sum = 0.0f;                                                                             \
            for (uint mma_k = 0; mma_k < 16; mma_k += 2) {                                                    \
                uint mma_pair = mma_k % 8 / 2;                                                                \
                float2 mma_x = halves_of(mma_a[(WARP_FIRST + WARP_ITEM / 4 * 4 + mma_pair) * 4 +              \
                                               mma_i / 2 + mma_k / 8 * 2]);                                   \
                float2 mma_y = halves_of(mma_b[(WARP_FIRST + mma_column * 4 + mma_pair) * 2 + mma_k / 8]);    \
                mma_sum = mad(mma_x.x, mma_y.x, mma_sum);                                                     \
                mma_sum = mad(mma_x.y, mma_y.y, mma_sum);                                                     \
            }                                                                                                 \
            (c)[mma_i] += mma_sum;                                                                            \
        }                                                                                                     \
        barrier(CLK_LOCAL_MEM_FENCE); /* the fragments are read before they are written again */              \
    }

#define COPY_ASYNC(to, from, valid) *(to) = *(from) & (uint4)((valid) ? 0xffffffffu : 0u);
#define COPY_COMMIT()
#define COPY_WAIT(n)

#define SHUFFLE_XOR(y, x, mask)                                                                               \
    {                                                                                                         \
        mma_rows[get_local_id(0)] = as_uint(x);                                                               \
        barrier(CLK_LOCAL_MEM_FENCE); /* the values are written before others read them */                    \
        y = as_float(mma_rows[get_local_id(0) ^ (mask)]);                                                     \
        barrier(CLK_LOCAL_MEM_FENCE); /* they are read before they are written again */                       \
    }

#define WARP_SYNC()

inline uint round_halves(float x, float y) {
    uint bits;
    vstore_half2_rte((float2)(x, y), 0, (half *)&bits);
    return bits;
}

inline float exp2_near(float x) { return exp2(x); }

#else

#ifndef __NV_CL_C_VERSION
#error "PTX is NVIDIA's"
#endif

#define MMA_LOCAL

#define LDMATRIX_X4(r, address)                                                                \
    __asm__ volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"        \
                     : "=r"((r)[0]), "=r"((r)[1]), "=r"((r)[2]), "=r"((r)[3])                  \
                     : "r"((uint)(ulong)(address))                                             \
                     : "memory");

#define LDMATRIX_X4_TRANS(r, address)                                                          \
    __asm__ volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"  \
                     : "=r"((r)[0]), "=r"((r)[1]), "=r"((r)[2]), "=r"((r)[3])                  \
                     : "r"((uint)(ulong)(address))                                             \
                     : "memory");

#define MMA_16816(c, a, b)                                                                     \
    __asm__ volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "                      \
                     "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"         \
                     : "+f"((c)[0]), "+f"((c)[1]), "+f"((c)[2]), "+f"((c)[3])                  \
                     : "r"((a)[0]), "r"((a)[1]), "r"((a)[2]), "r"((a)[3]), "r"((b)[0]), "r"((b)[1]));

#define COPY_ASYNC(to, from, valid)                                                            \
    __asm__ volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"                           \
                     :                                                                         \
                     : "r"((uint)(ulong)(to)), "l"((ulong)(from)), "r"((valid) ? 16u : 0u)     \
                     : "memory");

#define COPY_COMMIT() __asm__ volatile("cp.async.commit_group;" : : : "memory");
#define COPY_WAIT(n) __asm__ volatile("cp.async.wait_group %0;" : : "n"(n) : "memory");

#define SHUFFLE_XOR(y, x, mask) \
    __asm__ volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=f"(y) : "f"(x), "n"(mask));

#define WARP_SYNC() __asm__ volatile("bar.warp.sync 0xffffffff;" : : : "memory");

inline uint round_halves(float x, float y) {
    uint bits;
    __asm__("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(y), "f"(x));
    return bits;
}

inline float exp2_near(float x) {
    float y;
    __asm__("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#endif
#endif
