// Sums of products of pairs of 16-bit numbers on AVX-512 VNNI, by inline assembly, for the CPU family: 64 rows of weights
// times many rows of activations. Included; defines no kernel.
#ifndef PAIR_DOTS_CL
#define PAIR_DOTS_CL

#include "assembly.cl"

// Registers 6 * g + m sum the products of row m of six and group g of four; 24 to 27 have weights, 28 to 31 columns of x.
#define OF_X(step, x, m, c0, c1, c2, c3)                                                                  \
    LINE("vpbroadcastd 4*" #step "+16*" TEXT(RECORD) "*" #m "(%[x])," Z(x))                               \
    LINE("vpdpwssd " Z(x) "," Z(24) "," Z(c0)) LINE("vpdpwssd " Z(x) "," Z(25) "," Z(c1))                 \
    LINE("vpdpwssd " Z(x) "," Z(26) "," Z(c2)) LINE("vpdpwssd " Z(x) "," Z(27) "," Z(c3))
#define LOAD_WEIGHTS(step, g, to) LINE("vmovdqa64 64*(4*" #step "+" #g ")(%[w])," Z(to))
#define STEP(step)                                                                                              \
    LOAD_WEIGHTS(step, 0, 24) LOAD_WEIGHTS(step, 1, 25) LOAD_WEIGHTS(step, 2, 26) LOAD_WEIGHTS(step, 3, 27)     \
    OF_X(step, 28, 0, 0, 6, 12, 18) OF_X(step, 29, 1, 1, 7, 13, 19) OF_X(step, 30, 2, 2, 8, 14, 20)             \
    OF_X(step, 31, 3, 3, 9, 15, 21) OF_X(step, 28, 4, 4, 10, 16, 22) OF_X(step, 29, 5, 5, 11, 17, 23)
#define SIXTEEN_STEPS                                                                                     \
    STEP(0) STEP(1) STEP(2) STEP(3) STEP(4) STEP(5) STEP(6) STEP(7) STEP(8) STEP(9) STEP(10) STEP(11)     \
    STEP(12) STEP(13) STEP(14) STEP(15)
#define ZERO_6(a, b, c, d, e, f) ZERO(a) ZERO(b) ZERO(c) ZERO(d) ZERO(e) ZERO(f)
#define LOAD_UNIT(g, to) LINE("vmovaps 64*" #g "(%[units])," Z(to))
#define ADD_TO_SUM(m, g, unit, c)                                                                          \
    LINE("vcvtdq2ps " Z(c) "," Z(c)) LINE("vmulps " Z(unit) "," Z(28) "," Z(29))                           \
    LINE("vfmadd213ps 64*(4*" #m "+" #g ")(%[sums])," Z(29) "," Z(c))                                      \
    LINE("vmovaps " Z(c) ",64*(4*" #m "+" #g ")(%[sums])")
#define ADD_TO_SUMS(m, c0, c1, c2, c3)                                                                     \
    LINE("vbroadcastss 4*" TEXT(RECORD_UNIT) "+16*" TEXT(RECORD) "*" #m "(%[row])," Z(28))                 \
    ADD_TO_SUM(m, 0, 24, c0) ADD_TO_SUM(m, 1, 25, c1) ADD_TO_SUM(m, 2, 26, c2) ADD_TO_SUM(m, 3, 27, c3)

// sums[t][g][lane] += units[g][lane] * (unit of x[t]) * (numbers[][g][lane] . x[t]) for 6 * sixes rows t: records of
// block_columns.cl, four to a row, of which the first `parts` count. numbers: pairs [parts, 16, 4, 16].
inline void add_pairs(const uint *numbers, const float *units, __global const uint *x_TPR, ulong parts, ulong sixes, float *sums) {
    uint saved[512] __attribute__((aligned(64)));
    const uint *w;
    __global const uint *x;
    ulong left;
    __asm__ volatile(FOR_REGISTERS(SAVE) LINE("1:") ZERO_6(0, 1, 2, 3, 4, 5) ZERO_6(6, 7, 8, 9, 10, 11)
                     ZERO_6(12, 13, 14, 15, 16, 17) ZERO_6(18, 19, 20, 21, 22, 23)
                     LINE("mov %[numbers],%[w]") LINE("mov %[row],%[x]") LINE("mov %[parts],%[left]")
                     LINE("2:") SIXTEEN_STEPS
                     LINE("add $4096,%[w]") LINE("add $4*" TEXT(RECORD) ",%[x]") LINE("dec %[left]") LINE("jnz 2b")
                     LOAD_UNIT(0, 24) LOAD_UNIT(1, 25) LOAD_UNIT(2, 26) LOAD_UNIT(3, 27)
                     ADD_TO_SUMS(0, 0, 6, 12, 18) ADD_TO_SUMS(1, 1, 7, 13, 19) ADD_TO_SUMS(2, 2, 8, 14, 20)
                     ADD_TO_SUMS(3, 3, 9, 15, 21) ADD_TO_SUMS(4, 4, 10, 16, 22) ADD_TO_SUMS(5, 5, 11, 17, 23)
                     LINE("add $6*256,%[sums]") LINE("add $6*16*" TEXT(RECORD) ",%[row]")
                     LINE("dec %[sixes]") LINE("jnz 1b") FOR_REGISTERS(RESTORE)
                     : [w] "=&r"(w), [x] "=&r"(x), [left] "=&r"(left), [row] "+r"(x_TPR), [sixes] "+r"(sixes), [sums] "+r"(sums)
                     : [numbers] "r"(numbers), [units] "r"(units), [parts] "r"(parts), [saved] "r"(saved)
                     : "memory", "cc");
}

#endif
