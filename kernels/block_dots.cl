// Sums of products of bytes on AVX-512 VNNI, by inline assembly, for the CPU family: quantised weights of sixteen rows side
// by side times activations that are rounded to bytes. Included; defines no kernel.
//
// x stands for columns of TILE_T rows: a record of X_WORDS words for 32 columns of each row, then those of the next columns.
//   LIMBS times 8 words of 4 signed bytes: x[d] = unit * sum over l of limb[l][d] * 256^(LIMBS - 1 - l)
//   LIMBS times HALVES int32: -OFFSET times the sum of a limb over half of the columns, or over all of them
//   unit, float32
//   total of x as it is rounded, float32
// The weights' numbers are taken as unsigned bytes, OFFSET above what they stand for; the corrections make up for it.
#ifndef BLOCK_DOTS_CL
#define BLOCK_DOTS_CL

#ifndef FORMAT
#define FORMAT Q4_0
#endif
#ifndef LIMBS
#define LIMBS 2
#endif
#ifndef TILE_T
#define TILE_T 1
#endif

#include "assembly.cl"
#include "block_lanes.cl"

#if FORMAT == Q8_0
#define OFFSET 128
#elif FORMAT == IQ4_NL || FORMAT == IQ4_XS
#define OFFSET 128
#elif FORMAT == Q3_K
#define OFFSET 4
#elif FORMAT == Q4_0
#define OFFSET 8
#elif FORMAT == Q5_0
#define OFFSET 16
#elif FORMAT == Q6_K
#define OFFSET 32
#else
#define OFFSET 0
#endif
#define X_CORRECTION (8 * LIMBS)
#define X_UNIT (X_CORRECTION + LIMBS * HALVES)
#define X_TOTAL (X_UNIT + 1)
#define X_WORDS (X_UNIT + 2)

#ifndef AHEAD
#define AHEAD 768 // bytes
#endif

// Registers 16 to 31 hold a single row's columns; several rows' come from memory, a word at a time.
#define KEEPS_X (TILE_T == 1 && LIMBS <= 2)
#if KEEPS_X
#define W0 0
#define W1 1
#define W2 2
#define W3 3
#define W4 4
#define W5 5
#define W6 6
#define W7 7
#define A0 8 // integers of limb 0, the first half's columns, then the other's
#define B0 9
#define A1 10
#define B1 11
#define SCALE 12
#define SCALE2 13
#define MASK0 14
#define MINIMUM 13
#define SUM0 15
#else
#define W0 16
#define W1 17
#define W2 18
#define W3 19
#define W4 20
#define W5 21
#define W6 22
#define W7 23
#define A0 0
#define B0 1
#define A1 2
#define B1 3
#define A2 4
#define B2 5
#define SCALE 24
#define SCALE2 25
#define MASK0 26
#define MINIMUM 25
#define SUM0 8
#endif
// Asks for a line AHEAD of the part, one of as many as the part is long; a few at a time, since a core waits for ten or so.
#define PART_BYTES (16 * BLOCK_BYTES / PARTS)
#define ASK(part, i) LINE("prefetcht0 " TEXT(AHEAD) "+" TEXT(PART_BYTES) "*" #part "+64*" #i "(%[block])")
#if PART_BYTES > 320
#define ASK5(part, i) ASK(part, i)
#else
#define ASK5(part, i)
#endif
#if PART_BYTES > 448
#define ASK7(part, i) ASK(part, i)
#else
#define ASK7(part, i)
#endif

// For the words of 32 columns and the registers of their weights.
#define EACH8(DO, a) DO(a, 0, W0) DO(a, 1, W1) DO(a, 2, W2) DO(a, 3, W3) DO(a, 4, W4) DO(a, 5, W5) DO(a, 6, W6) DO(a, 7, W7)

// Operands: a word or a half of the block, its last halves, a word of x in all lanes.
#define WORD_AT(...) "32*" TEXT(LEADING) "+64*(" TEXT(__VA_ARGS__) ")(%[block])"
#define HALF_AT(i) "32*" #i "(%[block])"
#define LAST_HALF_AT(i) "32*" TEXT(LEADING) "+64*" TEXT(BLOCK_WORDS) "+32*" #i "(%[block])"
#define X_AT(part, t, ...) "4*((" #part "*" TEXT(TILE_T) "+" #t ")*(" TEXT(X_WORDS) ")+" TEXT(__VA_ARGS__) ")(%[x])"
#define SPREAD(part, t, ...) X_AT(part, t, __VA_ARGS__) "%{1to16%}"
#define SPREAD_MASK(i) "4*" #i "(%[masks])%{1to16%}"

#define LOAD_WORD(to, ...) LINE("vmovdqu64 " WORD_AT(__VA_ARGS__) "," Z(to))
#define AND_WORD(to, ...) LINE("vpandd " WORD_AT(__VA_ARGS__) "," Z(MASK0) "," Z(to))
#define AND(from, to) LINE("vpandd " Z(MASK0) "," Z(from) "," Z(to))
#define AND_MASK(i, from, to) LINE("vpandd " SPREAD_MASK(i) "," Z(from) "," Z(to))
#define SHIFT_WORD(bits, to, ...) LINE("vpsrld $" #bits "," WORD_AT(__VA_ARGS__) "," Z(to))
#define SHIFT_WORD_LEFT(bits, to, ...) LINE("vpslld $" #bits "," WORD_AT(__VA_ARGS__) "," Z(to))
#define SHIFT_LEFT(bits, from, to) LINE("vpslld $" #bits "," Z(from) "," Z(to))
#define LESS_MASK(i, to) LINE("vpsubd " SPREAD_MASK(i) "," Z(to) "," Z(to)) // to -= mask
#define SHIFT(bits, from, to) LINE("vpsrld $" #bits "," Z(from) "," Z(to))
#define OR_AND_MASK(i, from, to) LINE("vpternlogd $0xF8," SPREAD_MASK(i) "," Z(from) "," Z(to)) // to |= from & mask
#define TO_FLOAT(n) LINE("vcvtdq2ps " Z(n) "," Z(n))
#define TIMES(n, to) LINE("vmulps " Z(n) "," Z(to) "," Z(to))
#define HALF_TO_FLOAT(at, to) LINE("vcvtph2ps " at "," Z(to))
#define TIMES_HALF_AT(at, by, to) HALF_TO_FLOAT(at, by) TO_FLOAT(to) TIMES(by, to)
#define TIMES_HALF(i, by, to) TIMES_HALF_AT(HALF_AT(i), by, to)

// Numbers of 4 bits in four words: the low ones to the first registers, the high ones to the others.
#define LOW_HIGH(i, low, high) LOAD_WORD(high, i) AND(high, low) SHIFT(4, high, high) AND(high, high)
#define LOW_HIGH_4(first) LOW_HIGH(first, W0, W4) LOW_HIGH(first + 1, W1, W5) LOW_HIGH(first + 2, W2, W6) LOW_HIGH(first + 3, W3, W7)
// One more bit of numbers: a bit of each byte of word first + i to bit 4, which mask 4 has.
#define FIFTH_0(first, i, to) SHIFT_WORD_LEFT(4, A0, first + i) OR_AND_MASK(4, A0, to)
#define FIFTH_1(first, i, to) SHIFT_WORD_LEFT(3, A0, first + i) OR_AND_MASK(4, A0, to)
#define FIFTH_2(first, i, to) SHIFT_WORD_LEFT(2, A0, first + i) OR_AND_MASK(4, A0, to)
#define FIFTH_3(first, i, to) SHIFT_WORD_LEFT(1, A0, first + i) OR_AND_MASK(4, A0, to)
#define FIFTH_4(first, i, to) LOAD_WORD(A0, first + i) OR_AND_MASK(4, A0, to)
#define FIFTH_5(first, i, to) SHIFT_WORD(1, A0, first + i) OR_AND_MASK(4, A0, to)
#define FIFTH_6(first, i, to) SHIFT_WORD(2, A0, first + i) OR_AND_MASK(4, A0, to)
#define FIFTH_7(first, i, to) SHIFT_WORD(3, A0, first + i) OR_AND_MASK(4, A0, to)

// What a format does for each part: weights, scales and minimum to their registers. A0 to B1 are free until then.
#if FORMAT == Q8_0
#define MASKS 0x80808080u
#define XOR_WORD(first, i, to) LINE("vpxord " WORD_AT(i) "," Z(MASK0) "," Z(to))
#define PART(part) HALF_TO_FLOAT(HALF_AT(0), SCALE) EACH8(XOR_WORD, 0)
#elif FORMAT <= Q5_1
#define MASKS 0x0F0F0F0Fu, 0, 0, 0, 0x10101010u
#if FORMAT == Q4_1 || FORMAT == Q5_1
#define PART_MINIMUM HALF_TO_FLOAT(HALF_AT(1), MINIMUM)
#else
#define PART_MINIMUM
#endif
#if FORMAT <= Q4_1
#define PART(part) HALF_TO_FLOAT(HALF_AT(0), SCALE) PART_MINIMUM LOW_HIGH_4(0)
#else
#define PART(part)                                                                                           \
    HALF_TO_FLOAT(HALF_AT(0), SCALE) PART_MINIMUM LOW_HIGH_4(1) FIFTH_0(0, 0, W0) FIFTH_1(0, 0, W1)          \
    FIFTH_2(0, 0, W2) FIFTH_3(0, 0, W3) FIFTH_4(0, 0, W4) FIFTH_5(0, 0, W5) FIFTH_6(0, 0, W6) FIFTH_7(0, 0, W7)
#endif
#elif FORMAT == IQ4_NL || FORMAT == IQ4_XS
// Words 1 to 4 are the levels, OFFSET above what they are.
#define MASKS 0x0F0F0F0Fu, 0x3F2D1801u, 0x766A5D4Fu, 0xA6998D81u, 0xF1D9C5B5u, 0x30u, 32u
#define TABLE SCALE2
#define LEVEL(a, i, to) LINE("vpshufb " Z(to) "," Z(TABLE) "," Z(to))
#define NUMBERS(first) LOW_HIGH_4(first) LINE("vbroadcasti32x4 4(%[masks])," Z(TABLE)) EACH8(LEVEL, 0)
#if FORMAT == IQ4_NL
#define PART(part) HALF_TO_FLOAT(HALF_AT(0), SCALE) NUMBERS(0)
#else
#define PART(part)                                                                                              \
    SHIFT_WORD_LEFT(28 - 4 * part, SCALE, 0) SHIFT(28, SCALE, SCALE) LINE("vpmovzxwd " HALF_AT(1) "," Z(A0))   \
    SHIFT_LEFT(4, A0, A0) SHIFT(2 * part, A0, A0) OR_AND_MASK(5, A0, SCALE) LESS_MASK(6, SCALE)                 \
    TIMES_HALF(0, A0, SCALE) NUMBERS(1 + 4 * part)
#endif
#elif FORMAT == Q3_K
#define MASKS 0x03030303u, 0x04040404u, 0x30u, 32u
#define LOW_0(first, i, to) AND_WORD(to, first + i)
#define LOW_2(first, i, to) SHIFT_WORD(2, to, first + i) AND(to, to)
#define LOW_4(first, i, to) SHIFT_WORD(4, to, first + i) AND(to, to)
#define LOW_6(first, i, to) SHIFT_WORD(6, to, first + i) AND(to, to)
#define THIRD_0(a, i, to) SHIFT_WORD_LEFT(2, A0, i) OR_AND_MASK(1, A0, to)
#define THIRD_1(a, i, to) SHIFT_WORD_LEFT(1, A0, i) OR_AND_MASK(1, A0, to)
#define THIRD_2(a, i, to) LOAD_WORD(A0, i) OR_AND_MASK(1, A0, to)
#define THIRD_3(a, i, to) SHIFT_WORD(1, A0, i) OR_AND_MASK(1, A0, to)
#define THIRD_4(a, i, to) SHIFT_WORD(2, A0, i) OR_AND_MASK(1, A0, to)
#define THIRD_5(a, i, to) SHIFT_WORD(3, A0, i) OR_AND_MASK(1, A0, to)
#define THIRD_6(a, i, to) SHIFT_WORD(4, A0, i) OR_AND_MASK(1, A0, to)
#define THIRD_7(a, i, to) SHIFT_WORD(5, A0, i) OR_AND_MASK(1, A0, to)
// The low 4 bits of a scale from bit `low` of a word on, the high 2 from bit `high` of word 26.
#define A_SCALE(to, low, word, high)                                                                \
    SHIFT_WORD_LEFT(28 - low, to, word) SHIFT(28, to, to) SHIFT_WORD_LEFT(30 - high, A0, 26)        \
    SHIFT(26, A0, A0) OR_AND_MASK(2, A0, to) LESS_MASK(3, to) TIMES_HALF_AT(LAST_HALF_AT(0), A0, to)
#define PART_0 A_SCALE(SCALE, 0, 24, 0) A_SCALE(SCALE2, 8, 24, 8) EACH8(LOW_0, 8) EACH8(THIRD_0, 0)
#define PART_1 A_SCALE(SCALE, 16, 24, 16) A_SCALE(SCALE2, 24, 24, 24) EACH8(LOW_2, 8) EACH8(THIRD_1, 0)
#define PART_2 A_SCALE(SCALE, 0, 25, 2) A_SCALE(SCALE2, 8, 25, 10) EACH8(LOW_4, 8) EACH8(THIRD_2, 0)
#define PART_3 A_SCALE(SCALE, 16, 25, 18) A_SCALE(SCALE2, 24, 25, 26) EACH8(LOW_6, 8) EACH8(THIRD_3, 0)
#define PART_4 A_SCALE(SCALE, 4, 24, 4) A_SCALE(SCALE2, 12, 24, 12) EACH8(LOW_0, 16) EACH8(THIRD_4, 0)
#define PART_5 A_SCALE(SCALE, 20, 24, 20) A_SCALE(SCALE2, 28, 24, 28) EACH8(LOW_2, 16) EACH8(THIRD_5, 0)
#define PART_6 A_SCALE(SCALE, 4, 25, 6) A_SCALE(SCALE2, 12, 25, 14) EACH8(LOW_4, 16) EACH8(THIRD_6, 0)
#define PART_7 A_SCALE(SCALE, 20, 25, 22) A_SCALE(SCALE2, 28, 25, 30) EACH8(LOW_6, 16) EACH8(THIRD_7, 0)
#define PART(part) PART_##part
#elif FORMAT == Q4_K || FORMAT == Q5_K
#define MASKS 0x0F0F0F0Fu, 0x3Fu, 0x30u, 0x0Fu, 0x10101010u
#define SUBTRACTS_MINIMUM
// Of parts 0 to 3: the low 6 bits of a byte of word 0 and of word 1; of the others, halves of a byte of word 2 and, above
// them, the bits that those lack.
#define EARLY_SCALES(shift)                                                          \
    SHIFT_WORD(shift, SCALE, 0) AND_MASK(1, SCALE, SCALE) TIMES_HALF(0, A0, SCALE)   \
    SHIFT_WORD(shift, MINIMUM, 1) AND_MASK(1, MINIMUM, MINIMUM) TIMES_HALF(1, A0, MINIMUM)
#define LATE_SCALES(shift, shift4, shift2)                                                              \
    SHIFT_WORD(shift, A0, 2) SHIFT_WORD(shift2, B0, 0) AND_MASK(3, A0, SCALE) OR_AND_MASK(2, B0, SCALE) \
    TIMES_HALF(0, A0, SCALE) SHIFT_WORD(shift4, A0, 2) SHIFT_WORD(shift2, B0, 1)                        \
    AND_MASK(3, A0, MINIMUM) OR_AND_MASK(2, B0, MINIMUM) TIMES_HALF(1, A0, MINIMUM)
#if FORMAT == Q4_K
#define NUMBERS 3
#define FIFTH(part)
#else
#define NUMBERS 11
#define FIFTH(part) EACH8(FIFTH_##part, 3)
#endif
#define LOW(first, i, to) AND_WORD(to, first + i)
#define HIGH_HALF(first, i, to) SHIFT_WORD(4, to, first + i) AND(to, to)
#define PART_0 EARLY_SCALES(0) EACH8(LOW, NUMBERS) FIFTH(0)
#define PART_1 EARLY_SCALES(8) EACH8(HIGH_HALF, NUMBERS) FIFTH(1)
#define PART_2 EARLY_SCALES(16) EACH8(LOW, NUMBERS + 8) FIFTH(2)
#define PART_3 EARLY_SCALES(24) EACH8(HIGH_HALF, NUMBERS + 8) FIFTH(3)
#define PART_4 LATE_SCALES(0, 4, 2) EACH8(LOW, NUMBERS + 16) FIFTH(4)
#define PART_5 LATE_SCALES(8, 12, 10) EACH8(HIGH_HALF, NUMBERS + 16) FIFTH(5)
#define PART_6 LATE_SCALES(16, 20, 18) EACH8(LOW, NUMBERS + 24) FIFTH(6)
#define PART_7 LATE_SCALES(24, 28, 26) EACH8(HIGH_HALF, NUMBERS + 24) FIFTH(7)
#define PART(part) PART_##part
#elif FORMAT == Q6_K
#define MASKS 0x3F3F3F3Fu, 0x03030303u, 0x0C0C0C0Cu, 0x30303030u
// Four words of numbers from three: see block_layout.py.
#define FOUR(first, a, b, c, d)                                                              \
    LOAD_WORD(a, first) LOAD_WORD(b, first + 1) LOAD_WORD(c, first + 2) SHIFT(6, a, d) AND_MASK(1, d, d) SHIFT(4, b, A0) \
    OR_AND_MASK(2, A0, d) SHIFT(2, c, B0) OR_AND_MASK(3, B0, d) AND(a, a) AND(b, b) AND(c, c)
#define A_SCALE(to, left, word) SHIFT_WORD_LEFT(left, to, word) LINE("vpsrad $24," Z(to) "," Z(to)) TO_FLOAT(to) TIMES(A0, to)
#define EVEN_PART(word) HALF_TO_FLOAT(LAST_HALF_AT(0), A0) A_SCALE(SCALE, 24, word) A_SCALE(SCALE2, 16, word)
#define ODD_PART(word) HALF_TO_FLOAT(LAST_HALF_AT(0), A0) A_SCALE(SCALE, 8, word) A_SCALE(SCALE2, 0, word)
#define SCALES_0 EVEN_PART(48)
#define SCALES_1 ODD_PART(48)
#define SCALES_2 EVEN_PART(49)
#define SCALES_3 ODD_PART(49)
#define SCALES_4 EVEN_PART(50)
#define SCALES_5 ODD_PART(50)
#define SCALES_6 EVEN_PART(51)
#define SCALES_7 ODD_PART(51)
#define PART(part) SCALES_##part FOUR(part * 6, W0, W1, W2, W3) FOUR(part * 6 + 3, W4, W5, W6, W7)
#endif

// The products of a part with row t: integers first, each half's by itself, since an addition waits for the one before.
#define CORRECTION(part, t, n, ...) LINE("vpbroadcastd " X_AT(part, t, X_CORRECTION + __VA_ARGS__) "," Z(n))
#if OFFSET && HALVES == 2
#define INITIAL(part, t, l, n, n2) CORRECTION(part, t, n, 2 * l) CORRECTION(part, t, n2, 2 * l + 1)
#elif OFFSET
#define INITIAL(part, t, l, n, n2) CORRECTION(part, t, n, l) ZERO(n2)
#else
#define INITIAL(part, t, l, n, n2) ZERO(n) ZERO(n2)
#endif
#if KEEPS_X
#define DOT(part, t, n, x, word, w) LINE("vpdpbusd %%zmm" #x "," Z(w) "," Z(n))
#else
#define DOT(part, t, n, x, word, w) LINE("vpdpbusd " SPREAD(part, t, word) "," Z(w) "," Z(n))
#endif
// For the first row alone.
#define ONCE_0(...) __VA_ARGS__
#define ONCE_1(...)
#define ONCE_2(...)
#define ONCE_3(...)
#define ONCE_4(...)
#define ONCE_5(...)
#define ONCE_6(...)
#define ONCE_7(...)
#define ASK_1(part) ASK(part, 1)
#define ASK_2(part) ASK(part, 2) ASK5(part, 5)
#define ASK_3(part) ASK(part, 3) ASK5(part, 6)
#define ASK_4(part) ASK(part, 4) ASK7(part, 7) ASK7(part, 8)
#if LIMBS == 1
#define LIMB_SUMS(part, t)                                                        \
    INITIAL(part, t, 0, A0, B0)                                                   \
    ONCE_##t(ASK_1(part)) DOT(part, t, A0, 16, 0, W0) DOT(part, t, B0, 20, 4, W4) ONCE_##t(ASK_2(part)) DOT(part, t, A0, 17, 1, W1) DOT(part, t, B0, 21, 5, W5) \
    ONCE_##t(ASK_3(part)) DOT(part, t, A0, 18, 2, W2) DOT(part, t, B0, 22, 6, W6) ONCE_##t(ASK_4(part)) DOT(part, t, A0, 19, 3, W3) DOT(part, t, B0, 23, 7, W7)
#define JOIN(a, b, c) TO_FLOAT(a)
#define ADD_HALVES ADD(B0, A0)
#else
#define LIMB_SUMS_2(part, t)                                                                                        \
    INITIAL(part, t, 0, A0, B0) INITIAL(part, t, 1, A1, B1)                                                         \
    ONCE_##t(ASK_1(part)) DOT(part, t, A0, 16, 0, W0) DOT(part, t, B0, 20, 4, W4) DOT(part, t, A1, 24, 8, W0) DOT(part, t, B1, 28, 12, W4)  \
    ONCE_##t(ASK_2(part)) DOT(part, t, A0, 17, 1, W1) DOT(part, t, B0, 21, 5, W5) DOT(part, t, A1, 25, 9, W1) DOT(part, t, B1, 29, 13, W5)  \
    ONCE_##t(ASK_3(part)) DOT(part, t, A0, 18, 2, W2) DOT(part, t, B0, 22, 6, W6) DOT(part, t, A1, 26, 10, W2) DOT(part, t, B1, 30, 14, W6) \
    ONCE_##t(ASK_4(part)) DOT(part, t, A0, 19, 3, W3) DOT(part, t, B0, 23, 7, W7) DOT(part, t, A1, 27, 11, W3) DOT(part, t, B1, 31, 15, W7)
#if LIMBS == 2
#define LIMB_SUMS(part, t) LIMB_SUMS_2(part, t)
#define JOIN(a, b, c) LINE("vpslld $8," Z(a) "," Z(a)) ADD(b, a) TO_FLOAT(a)
#define ADD_HALVES ADD(B0, A0) ADD(B1, A1)
#else
#define LIMB_SUMS(part, t)                                                                                       \
    LIMB_SUMS_2(part, t) INITIAL(part, t, 2, A2, B2)                                                             \
    DOT(part, t, A2, 0, 16, W0) DOT(part, t, B2, 0, 20, W4) DOT(part, t, A2, 0, 17, W1) DOT(part, t, B2, 0, 21, W5) \
    DOT(part, t, A2, 0, 18, W2) DOT(part, t, B2, 0, 22, W6) DOT(part, t, A2, 0, 19, W3) DOT(part, t, B2, 0, 23, W7)
#define JOIN(a, b, c) \
    LINE("vpslld $8," Z(a) "," Z(a)) ADD(b, a) TO_FLOAT(a) TO_FLOAT(c) LINE("vfmadd132ps " SPREAD_MASK(7) "," Z(c) "," Z(a))
#define ADD_HALVES ADD(B0, A0) ADD(B1, A1) ADD(B2, A2)
#endif
#endif
#define ADD(n, to) LINE("vpaddd " Z(n) "," Z(to) "," Z(to))
// Their sum, float32; of the limbs, where it fits them, as integers.
#if HALVES == 1
#define SCALED ADD_HALVES JOIN(A0, A1, A2) TIMES(SCALE, A0)
#else
#define SCALED JOIN(A0, A1, A2) JOIN(B0, B1, B2) TIMES(SCALE, A0) LINE("vfmadd231ps " Z(SCALE2) "," Z(B0) "," Z(A0))
#endif
#ifdef SUBTRACTS_MINIMUM
#define ADD_MINIMUM(part, t, sum) LINE("vfnmadd231ps " SPREAD(part, t, X_TOTAL) "," Z(MINIMUM) "," Z(sum))
#elif FORMAT == Q4_1 || FORMAT == Q5_1
#define ADD_MINIMUM(part, t, sum) LINE("vfmadd231ps " SPREAD(part, t, X_TOTAL) "," Z(MINIMUM) "," Z(sum))
#else
#define ADD_MINIMUM(part, t, sum)
#endif
#define ROW(part, t, sum) \
    LIMB_SUMS(part, t) SCALED LINE("vfmadd231ps " SPREAD(part, t, X_UNIT) "," Z(A0) "," Z(sum)) ADD_MINIMUM(part, t, sum)

#if TILE_T == 1
#define ROWS(DO, part) DO(part, 0, SUM0)
#elif TILE_T == 2
#define ROWS(DO, part) DO(part, 0, 8) DO(part, 1, 9)
#elif TILE_T == 3
#define ROWS(DO, part) DO(part, 0, 8) DO(part, 1, 9) DO(part, 2, 10)
#elif TILE_T == 4
#define ROWS(DO, part) DO(part, 0, 8) DO(part, 1, 9) DO(part, 2, 10) DO(part, 3, 11)
#elif TILE_T == 5
#define ROWS(DO, part) DO(part, 0, 8) DO(part, 1, 9) DO(part, 2, 10) DO(part, 3, 11) DO(part, 4, 12)
#elif TILE_T == 6
#define ROWS(DO, part) DO(part, 0, 8) DO(part, 1, 9) DO(part, 2, 10) DO(part, 3, 11) DO(part, 4, 12) DO(part, 5, 13)
#elif TILE_T == 7
#define ROWS(DO, part) \
    DO(part, 0, 8) DO(part, 1, 9) DO(part, 2, 10) DO(part, 3, 11) DO(part, 4, 12) DO(part, 5, 13) DO(part, 6, 14)
#else
#define ROWS(DO, part)                                                                                    \
    DO(part, 0, 8) DO(part, 1, 9) DO(part, 2, 10) DO(part, 3, 11) DO(part, 4, 12) DO(part, 5, 13) DO(part, 6, 14) \
    DO(part, 7, 15)
#endif
#define LOAD_SUM(part, t, sum) LINE("vmovups 64*" #t "(%[sum])," Z(sum))
#define STORE_SUM(part, t, sum) LINE("vmovups " Z(sum) ",64*" #t "(%[sum])")

#if KEEPS_X
#define KEEP(part, n, word) LINE("vpbroadcastd " X_AT(part, 0, word) ",%%zmm" #n)
#define KEEP_8(part, a, b, c, d, e, f, g, h, first)                                                           \
    KEEP(part, a, first) KEEP(part, b, first + 1) KEEP(part, c, first + 2) KEEP(part, d, first + 3)           \
    KEEP(part, e, first + 4) KEEP(part, f, first + 5) KEEP(part, g, first + 6) KEEP(part, h, first + 7)
#if LIMBS == 1
#define KEEP_X(part) KEEP_8(part, 16, 17, 18, 19, 20, 21, 22, 23, 0)
#else
#define KEEP_X(part) KEEP_8(part, 16, 17, 18, 19, 20, 21, 22, 23, 0) KEEP_8(part, 24, 25, 26, 27, 28, 29, 30, 31, 8)
#endif
#else
#define KEEP_X(part)
#endif
#define ONE(part)                                                                        \
    KEEP_X(part)                                                                         \
    LINE("mov %[w],%[block]") LINE("mov %[groups],%[left]") LINE("mov %[sums],%[sum]")   \
    LINE("2:") ROWS(LOAD_SUM, part) ASK(part, 0) PART(part) ROWS(ROW, part) ROWS(STORE_SUM, part) \
    LINE("add $64*" TEXT(TILE_T) ",%[sum]") LINE("add %[stride],%[block]") LINE("dec %[left]") LINE("jnz 2b")
#if PARTS == 1
#define ALL ONE(0)
#else
#define ALL ONE(0) ONE(1) ONE(2) ONE(3) ONE(4) ONE(5) ONE(6) ONE(7)
#endif

// sums[g][t][lane] += the products of `groups` groups of 16 rows, `stride` bytes apart, and all of x, `blocks` blocks.
inline void add_dots(__global const uchar *w, ulong stride, ulong groups, __global const uint *x, ulong blocks, float *sums) {
    uint masks[8] __attribute__((aligned(64))) = {MASKS};
    masks[7] = as_uint(256.0f);
    uint saved[512] __attribute__((aligned(64)));
    ulong block, left;
    float *sum;
    __asm__ volatile(FOR_REGISTERS(SAVE) LINE("vpbroadcastd (%[masks])," Z(MASK0)) LINE("1:") ALL
                     LINE("add $16*" TEXT(BLOCK_BYTES) ",%[w]")
                     LINE("add $4*" TEXT(PARTS) "*" TEXT(TILE_T) "*(" TEXT(X_WORDS) "),%[x]")
                     LINE("dec %[blocks]") LINE("jnz 1b") FOR_REGISTERS(RESTORE)
                     : [block] "=&r"(block), [left] "=&r"(left), [sum] "=&r"(sum), [w] "+r"(w), [x] "+r"(x), [blocks] "+r"(blocks)
                     : [groups] "r"(groups), [sums] "r"(sums), [stride] "r"(stride), [masks] "r"(masks), [saved] "r"(saved)
                     : "memory", "cc");
}

#endif
