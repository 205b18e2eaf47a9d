// Quantised blocks of sixteen rows side by side, for the CPU family: a lane of a vector is a row.
// Included; defines no kernel. OpenCL C 1.2 but for a vector of 32, which Clang has and so all runtimes for CPUs.
//
// A block of a row has LEADING halves (scales), then BLOCK_WORDS words of 32 bits (numbers and small scales), then TRAILING
// halves. Of sixteen rows, each half and each word is stored sixteen times, row by row: half i at byte 32 * i, word j at
// byte 32 * LEADING + 64 * j; 16 * BLOCK_BYTES bytes in all. Blocks follow along the rows, groups of sixteen rows follow.
// In q5_0, q5_1 and q6_k, bits within the words are in an order of their own: that of cl_llama/ops/block_layout.py.
// A block is PARTS parts of 32 weights. decode_part gives those of all rows as
//   weight = scale[h] * q + minimum[h],    h = 0 for the first 32 / HALVES weights, 1 for the others
// with q in pairs of 16 bits: q[2 g] has weights 4 g and 4 g + 2 (low half, high half), q[2 g + 1] 4 g + 1 and 4 g + 3.
#ifndef BLOCK_LANES_CL
#define BLOCK_LANES_CL

#include "float16.cl"

#define Q8_0 1
#define Q4_0 2
#define Q4_1 3
#define Q5_0 4
#define Q5_1 5
#define Q2_K 6
#define Q3_K 7
#define Q4_K 8
#define Q5_K 9
#define Q6_K 10
#define IQ4_NL 11
#define IQ4_XS 12

#if FORMAT == Q8_0
#define LEADING 1
#define BLOCK_WORDS 8
#elif FORMAT == Q4_0 || FORMAT == IQ4_NL
#define LEADING 1
#define BLOCK_WORDS 4
#elif FORMAT == Q4_1
#define LEADING 2
#define BLOCK_WORDS 4
#elif FORMAT == Q5_0
#define LEADING 1
#define BLOCK_WORDS 5
#elif FORMAT == Q5_1
#define LEADING 2
#define BLOCK_WORDS 5
#elif FORMAT == Q2_K
#define LEADING 0
#define BLOCK_WORDS 20
#define TRAILING 2
#elif FORMAT == Q3_K
#define LEADING 0
#define BLOCK_WORDS 27
#define TRAILING 1
#elif FORMAT == Q4_K
#define LEADING 2
#define BLOCK_WORDS 35
#elif FORMAT == Q5_K
#define LEADING 2
#define BLOCK_WORDS 43
#elif FORMAT == Q6_K
#define LEADING 0
#define BLOCK_WORDS 52
#define TRAILING 1
#elif FORMAT == IQ4_XS
#define LEADING 2
#define BLOCK_WORDS 33
#endif
#ifndef TRAILING
#define TRAILING 0
#endif
#define BLOCK_BYTES (2 * (LEADING + TRAILING) + 4 * BLOCK_WORDS)

#if FORMAT <= Q5_1 || FORMAT == IQ4_NL
#define PARTS 1
#else
#define PARTS 8
#endif
#if FORMAT == Q2_K || FORMAT == Q3_K || FORMAT == Q6_K
#define HALVES 2 // a scale for every 16 weights
#else
#define HALVES 1
#endif
#define HAS_MINIMUM (FORMAT != Q8_0 && FORMAT != IQ4_NL && FORMAT != IQ4_XS)

// Numbers are within [LEAST, MOST].
#if FORMAT == Q8_0 || FORMAT == IQ4_NL || FORMAT == IQ4_XS
#define LEAST -128
#define MOST 127
#else
#define LEAST 0
#define FIVE_BITS (FORMAT == Q5_0 || FORMAT == Q5_1 || FORMAT == Q5_K)
#define MOST (FORMAT == Q2_K ? 3 : FORMAT == Q3_K ? 7 : FORMAT == Q6_K ? 63 : FIVE_BITS ? 31 : 15)
#endif

// Parts that are taken together: two have their bits in the same words, or their scales.
#if PARTS == 1 || FORMAT == IQ4_XS
#define CYCLE 1
#else
#define CYCLE 2
#endif

typedef short short32 __attribute__((ext_vector_type(32)));

#define WORD(j) vload16(0, (__global const uint *)(block + 32 * LEADING + 64 * (j)))
#define HALF(i) vload_half16(0, (__global const half *)(block + 32 * (i)))
#define LAST_HALF(i) vload_half16(0, (__global const half *)(block + 32 * LEADING + 64 * BLOCK_WORDS + 32 * (i)))
#define FLOATS(bits) convert_float16(as_int16(bits))

// The uneven levels of the IQ4 formats that pairs of four-bit numbers stand for.
inline uint16 levels_of(uint16 pairs) {
#define LEVELS_16 -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113
#if defined(__AVX512BW__) && __has_builtin(__builtin_ia32_permvarhi512)
    const short32 levels = (short32)(LEVELS_16, LEVELS_16);
    return __builtin_astype(__builtin_ia32_permvarhi512(levels, __builtin_astype(pairs, short32)), uint16);
#else
    const short16 levels = (short16)(LEVELS_16);
    short32 numbers = __builtin_astype(pairs, short32);
    short16 lo = shuffle(levels, as_ushort16(numbers.lo)), hi = shuffle(levels, as_ushort16(numbers.hi));
    return __builtin_astype((short32)(lo, hi), uint16);
#endif
}

// Numbers of `mask` bits in words j to j + 7, `shift` bits up: those of weights 0 to 31.
#define EIGHT_WORDS(j, shift, mask)                                    \
    _Pragma("unroll") for (uint c = 0; c < 8; c++) {                   \
        uint16 w = WORD((j) + c);                                      \
        q[2 * c] = w >> (shift) & ((mask) * 0x10001u);                 \
        q[2 * c + 1] = w >> ((shift) + 8) & ((mask) * 0x10001u);       \
    }
// Numbers of 4 bits in words j to j + 3: the low ones of weights 0 to 15, the high ones of the others.
#define FOUR_WORDS(j)                                                  \
    _Pragma("unroll") for (uint c = 0; c < 4; c++) {                   \
        uint16 w = WORD((j) + c);                                      \
        q[2 * c] = w & 0xF000Fu;                                       \
        q[2 * c + 8] = w >> 4 & 0xF000Fu;                              \
        q[2 * c + 1] = w >> 8 & 0xF000Fu;                              \
        q[2 * c + 9] = w >> 12 & 0xF000Fu;                             \
    }
// One more bit of each number: `bit` of the numbers' words from j on, which has the value 1 << to.
#define ONE_MORE_BIT(j, bit, to)                                       \
    _Pragma("unroll") for (uint c = 0; c < 8; c++) {                   \
        uint16 w = WORD((j) + c);                                      \
        q[2 * c] |= (w >> (bit) & 0x10001u) << (to);                   \
        q[2 * c + 1] |= (w >> ((bit) + 8) & 0x10001u) << (to);         \
    }

// Called, it would pass all numbers through memory.
__attribute__((always_inline)) inline void decode_part(__global const uchar *block, const uint part, uint16 *q,
                                                       float16 *scale, float16 *minimum) {
#if FORMAT == Q8_0
    scale[0] = HALF(0);
#pragma unroll
    for (uint c = 0; c < 8; c++) {
        short32 w = __builtin_astype(WORD(c), short32);
        q[2 * c] = __builtin_astype(w << (short)8 >> (short)8, uint16);
        q[2 * c + 1] = __builtin_astype(w >> (short)8, uint16);
    }
#elif FORMAT == Q4_0
    scale[0] = HALF(0);
    minimum[0] = -8.0f * scale[0];
    FOUR_WORDS(0)
#elif FORMAT == IQ4_NL
    scale[0] = HALF(0);
    FOUR_WORDS(0)
#elif FORMAT == Q4_1
    scale[0] = HALF(0);
    minimum[0] = HALF(1);
    FOUR_WORDS(0)
#elif FORMAT == Q5_0 || FORMAT == Q5_1
    scale[0] = HALF(0);
    minimum[0] = FORMAT == Q5_1 ? HALF(1) : -16.0f * scale[0];
    FOUR_WORDS(1)
    uint16 fifth = WORD(0);
#pragma unroll
    for (uint c = 0; c < 8; c++) {
        q[2 * c] |= (fifth >> c & 0x10001u) << 4;
        q[2 * c + 1] |= (fifth >> (c + 8) & 0x10001u) << 4;
    }
#elif FORMAT == Q2_K
    EIGHT_WORDS(4 + part / 4 * 8, part % 4 * 2, 3u)
    uint16 scales = WORD(part / 2);
    float16 d = LAST_HALF(0), dmin = -LAST_HALF(1);
#pragma unroll
    for (uint h = 0; h < 2; h++) {
        scale[h] = d * FLOATS(scales >> (part % 2 * 16 + h * 8) & 15u);
        minimum[h] = dmin * FLOATS(scales >> (part % 2 * 16 + h * 8 + 4) & 15u);
    }
#elif FORMAT == Q3_K
    EIGHT_WORDS(8 + part / 4 * 8, part % 4 * 2, 3u)
    ONE_MORE_BIT(0, part, 2)
    // Byte 2 * part + h has the low 4 bits of a scale in one of 8 bytes, its high 2 bits in one of 4.
    uint16 low = WORD(24 + part / 2 % 2) >> (part / 4 * 4), high = WORD(26) >> (part / 2 * 2);
    float16 d = LAST_HALF(0);
#pragma unroll
    for (uint h = 0; h < 2; h++) {
        uint16 s = (low >> (part % 2 * 16 + h * 8) & 15u) | (high >> (part % 2 * 16 + h * 8) & 3u) << 4;
        scale[h] = d * (FLOATS(s) - 32.0f);
        minimum[h] = -4.0f * scale[h];
    }
#elif FORMAT == Q4_K || FORMAT == Q5_K
    uint16 s, m;
    if (part < 4) {
        s = WORD(0) >> (part * 8) & 63u;
        m = WORD(1) >> (part * 8) & 63u;
    } else {
        uint16 both = WORD(2) >> (part * 8 - 32);
        s = (both & 15u) | (WORD(0) >> (part * 8 - 26) & 3u) << 4;
        m = (both >> 4 & 15u) | (WORD(1) >> (part * 8 - 26) & 3u) << 4;
    }
    scale[0] = HALF(0) * FLOATS(s);
    minimum[0] = -HALF(1) * FLOATS(m);
#if FORMAT == Q4_K
    EIGHT_WORDS(3 + part / 2 * 8, part % 2 * 4, 15u)
#else
    EIGHT_WORDS(11 + part / 2 * 8, part % 2 * 4, 15u)
    ONE_MORE_BIT(3, part, 4)
#endif
#elif FORMAT == Q6_K
    // Sixteen numbers in three words: a byte has one, and two bits of another.
#pragma unroll
    for (uint i = 0; i < 16; i += 8) {
        uint16 u = WORD(part * 6 + i / 8 * 3), v = WORD(part * 6 + i / 8 * 3 + 1), w = WORD(part * 6 + i / 8 * 3 + 2);
        q[i] = u & 0x3F003Fu;
        q[i + 1] = u >> 8 & 0x3F003Fu;
        q[i + 2] = v & 0x3F003Fu;
        q[i + 3] = v >> 8 & 0x3F003Fu;
        q[i + 4] = w & 0x3F003Fu;
        q[i + 5] = w >> 8 & 0x3F003Fu;
        u = (u >> 6 & 0x03030303u) | (v >> 4 & 0x0C0C0C0Cu) | (w >> 2 & 0x30303030u);
        q[i + 6] = u & 0x3F003Fu;
        q[i + 7] = u >> 8 & 0x3F003Fu;
    }
    uint16 scales = WORD(48 + part / 2);
    float16 d = LAST_HALF(0);
#pragma unroll
    for (uint h = 0; h < 2; h++) {
        scale[h] = d * convert_float16(as_int16(scales << (24 - part % 2 * 16 - h * 8)) >> 24);
        minimum[h] = -32.0f * scale[h];
    }
#elif FORMAT == IQ4_XS
    FOUR_WORDS(1 + part * 4)
    uint16 s = WORD(0) >> (part * 4) & 15u;
    s |= convert_uint16(vload16(0, (__global const ushort *)(block + 32))) >> (part * 2) % 16 << 4 & 0x30u;
    scale[0] = HALF(0) * (FLOATS(s) - 32.0f);
#endif
#if FORMAT == IQ4_NL || FORMAT == IQ4_XS
#pragma unroll
    for (uint i = 0; i < 16; i++) q[i] = levels_of(q[i]);
#endif
}

// The numbers in the low halves of sixteen pairs, and in the high ones.
#if FORMAT == Q8_0 || FORMAT == IQ4_NL || FORMAT == IQ4_XS
#define LOW(pairs) convert_float16(as_int16((pairs) << 16) >> 16)
#else
#define LOW(pairs) FLOATS((pairs) & 0xFFFFu)
#endif
#define HIGH(pairs) convert_float16(as_int16(pairs) >> 16)

#endif
