// Sixteen neighbouring weights of a row at once, for the portable kernels and for look-ups: halves, or blocks of GGUF's
// formats, which the option FORMAT names. Included; defines no kernel. Valid OpenCL C 1.2.
//
// A block holds ELEMENTS weights in BLOCK_BYTES bytes: numbers of 2 to 8 bits, and for each group of 16 or 32 of them a
// scale and, in some formats, an offset: weight = scale * number + offset. Blocks begin at even addresses.
#ifndef BLOCK_ROWS_CL
#define BLOCK_ROWS_CL

#define F16 0
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

#ifndef FORMAT
#define FORMAT F16
#endif
#ifndef WORDS
#define WORDS 0 // 1: blocks begin at multiples of four bytes
#endif

#if FORMAT == F16
typedef half Stored; // what the buffer of weights is made of
#else
typedef uchar Stored;
#endif

#if FORMAT == Q8_0
#define BLOCK_BYTES 34
#elif FORMAT == Q4_0 || FORMAT == IQ4_NL
#define BLOCK_BYTES 18
#elif FORMAT == Q4_1
#define BLOCK_BYTES 20
#elif FORMAT == Q5_0
#define BLOCK_BYTES 22
#elif FORMAT == Q5_1
#define BLOCK_BYTES 24
#elif FORMAT == Q2_K
#define BLOCK_BYTES 84
#elif FORMAT == Q3_K
#define BLOCK_BYTES 110
#elif FORMAT == Q4_K
#define BLOCK_BYTES 144
#elif FORMAT == Q5_K
#define BLOCK_BYTES 176
#elif FORMAT == Q6_K
#define BLOCK_BYTES 210
#elif FORMAT == IQ4_XS
#define BLOCK_BYTES 136
#endif
#if FORMAT == Q2_K || FORMAT == Q3_K || FORMAT == Q4_K || FORMAT == Q5_K || FORMAT == Q6_K || FORMAT == IQ4_XS
#define ELEMENTS 256
#else
#define ELEMENTS 32
#endif

// Sixteen numbers, and what makes weights of them.
typedef struct {
    float8 lo, hi;
    float scale, offset;
} Group;

inline uint load4_bytes(__global const uchar *p) {
#if WORDS
    return *(__global const uint *)p;
#else
    __global const ushort *q = (__global const ushort *)p;
    return q[0] | (uint)q[1] << 16;
#endif
}

inline uint4 load16_bytes(__global const uchar *p) {
    return (uint4)(load4_bytes(p), load4_bytes(p + 4), load4_bytes(p + 8), load4_bytes(p + 12));
}

inline float load_scale(__global const uchar *p) { return vload_half(0, (__global const half *)p); }

// Bit i of the low sixteen becomes bit 4 of byte i.
inline uint spread4(uint bits) {
    return (bits & 1) << 4 | (bits & 2) << 11 | (bits & 4) << 18 | (bits & 8) << 25;
}

inline uint4 spread16(uint bits) {
    return (uint4)(spread4(bits), spread4(bits >> 4), spread4(bits >> 8), spread4(bits >> 12));
}

#define BYTES_OF(of, a, b)                                                  \
    (float8)(of(a), of((a) >> 8), of((a) >> 16), of((a) >> 24), of(b), of((b) >> 8), of((b) >> 16), of((b) >> 24))

inline float number_of_byte(uint bits) { return (float)(bits & 255); }
inline float number_of_char(uint bits) { return (float)(char)(bits & 255); }

// The numbers that four bits stand for in the IQ4 formats, from -127 to 113.
inline float number_of_iq4(uint bits) {
    ulong half_table = bits & 8 ? 0x7159453526190D01UL : 0xF6EADDCFBFAD9881UL;
    return (float)(char)(half_table >> (bits & 7) * 8 & 255);
}

#if FORMAT == Q8_0
#define NUMBER number_of_char
#elif FORMAT == IQ4_NL || FORMAT == IQ4_XS
#define NUMBER number_of_iq4
#else
#define NUMBER number_of_byte
#endif

#define OFFSETS (FORMAT != Q8_0 && FORMAT != IQ4_NL && FORMAT != IQ4_XS) // 0: offsets are zero

#if FORMAT != F16
// The weights from `d` on, a multiple of sixteen, of a row of blocks.
inline Group load_group(__global const uchar *row, uint d) {
    __global const uchar *block = row + (ulong)(d / ELEMENTS) * BLOCK_BYTES;
    uint i = d % ELEMENTS; // multiples of 16: bits of i tell the sixteenth, the quarter, ...
    Group group;
    uint4 bits;
    group.offset = 0.0f;
#if FORMAT == Q8_0
    bits = load16_bytes(block + 2 + i);
    group.scale = load_scale(block);
#elif FORMAT == Q4_0 || FORMAT == IQ4_NL
    bits = load16_bytes(block + 2) >> i / 4 & 0x0F0F0F0FU;
    group.scale = load_scale(block);
    if (FORMAT == Q4_0) group.offset = -8.0f * group.scale;
#elif FORMAT == Q4_1
    bits = load16_bytes(block + 4) >> i / 4 & 0x0F0F0F0FU;
    group.scale = load_scale(block);
    group.offset = load_scale(block + 2);
#elif FORMAT == Q5_0
    bits = load16_bytes(block + 6) >> i / 4 & 0x0F0F0F0FU | spread16(load4_bytes(block + 2) >> i);
    group.scale = load_scale(block);
    group.offset = -16.0f * group.scale;
#elif FORMAT == Q5_1
    bits = load16_bytes(block + 8) >> i / 4 & 0x0F0F0F0FU | spread16(load4_bytes(block + 4) >> i);
    group.scale = load_scale(block);
    group.offset = load_scale(block + 2);
#elif FORMAT == Q2_K
    bits = load16_bytes(block + 16 + i / 128 * 32 + i % 32) >> i % 128 / 32 * 2 & 0x03030303U;
    uint scales = block[i / 16];
    group.scale = load_scale(block + 80) * (scales & 15);
    group.offset = -load_scale(block + 82) * (scales >> 4);
#elif FORMAT == Q3_K
    uint4 third = load16_bytes(block + i % 32) >> i / 32 & 0x01010101U;
    bits = load16_bytes(block + 32 + i / 128 * 32 + i % 32) >> i % 128 / 32 * 2 & 0x03030303U | third << 2;
    uint j = i / 16, low = block[96 + j % 8] >> j / 8 * 4 & 15, high = block[104 + j % 4] >> j / 4 * 2 & 3;
    group.scale = load_scale(block + 108) * ((int)(low | high << 4) - 32);
    group.offset = -4.0f * group.scale;
#elif FORMAT == Q4_K || FORMAT == Q5_K
    uint j = i / 32;
    __global const uchar *s = block + 4 + j;
    uint scale = j < 4 ? s[0] & 63 : s[4] & 15 | s[-4] >> 6 << 4;
    uint offset = j < 4 ? s[4] & 63 : s[4] >> 4 | s[0] >> 6 << 4;
    group.scale = load_scale(block) * scale;
    group.offset = -load_scale(block + 2) * offset;
#if FORMAT == Q4_K
    bits = load16_bytes(block + 16 + i / 64 * 32 + i % 32) >> j % 2 * 4 & 0x0F0F0F0FU;
#else
    uint4 fifth = load16_bytes(block + 16 + i % 32) >> j & 0x01010101U;
    bits = load16_bytes(block + 48 + i / 64 * 32 + i % 32) >> j % 2 * 4 & 0x0F0F0F0FU | fifth << 4;
#endif
#elif FORMAT == Q6_K
    uint4 high = load16_bytes(block + 128 + i / 128 * 32 + i % 32) >> i % 128 / 32 * 2 & 0x03030303U;
    bits = load16_bytes(block + i / 128 * 64 + i % 64) >> i % 128 / 64 * 4 & 0x0F0F0F0FU | high << 4;
    group.scale = load_scale(block + 208) * (char)block[192 + i / 16];
    group.offset = -32.0f * group.scale;
#elif FORMAT == IQ4_XS
    uint j = i / 32, low = block[4 + j / 2] >> j % 2 * 4 & 15, high = (block[2] | block[3] << 8) >> j * 2 & 3;
    bits = load16_bytes(block + 8 + j * 16) >> i % 32 / 4 & 0x0F0F0F0FU;
    group.scale = load_scale(block) * ((int)(low | high << 4) - 32);
#endif
    group.lo = BYTES_OF(NUMBER, bits.x, bits.y);
    group.hi = BYTES_OF(NUMBER, bits.z, bits.w);
    return group;
}

inline void store_group(Group group, float factor, __global float *p) {
    vstore8((group.lo * group.scale + group.offset) * factor, 0, p);
    vstore8((group.hi * group.scale + group.offset) * factor, 1, p);
}
#endif

#endif
