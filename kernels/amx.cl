// Products of tiles on Intel AMX, by inline assembly. Included, after PARTS is defined; defines no kernel.
//
// A step adds to 32 x 32 sums the product of x (32 rows) and w (32 columns), 32 deep. Both are split into bfloat16 parts,
// each the rounding of what the higher ones leave; two hold a float16 number exactly. Accumulator: float32. PARTS is how
// exact the product is:
//   1  x1 w1                                     both rounded to 8 bits: 2^-9 of the terms
//   2  x1 w1 + x1 w2 + x2 w1                     2^-17 of the terms
//   3  x1 w1 + x1 w2 + x2 w1 + x2 w2 + x3 w1     as float32
// A tile is 16 rows of 16 words, a word a pair of bfloat16: that at depth d and that at d + 16, the lower in the low half.
//
// x   uint  [PARTS, 2, 16, 16]      parts, the lower before the higher; rows 0 to 15 and 16 to 31; pairs
// w   uint  [W_PARTS, 2, 16, 16]    parts, the higher first; columns 0 to 15 and 16 to 31; pairs; a column a word
#ifndef AMX_CL
#define AMX_CL

#define TILE 256                    // words of 32 bits in a tile
#define W_PARTS (PARTS > 1 ? 2 : 1) // bfloat16 numbers an element of w is split into

// Two vectors of float32 to pairs of bfloat16, rounded to nearest; what is left of them goes into a and b.
inline uint16 split_pairs(float16 *a, float16 *b) {
    uint16 high_a = (as_uint16(*a) + 0x8000u) & 0xffff0000u, high_b = (as_uint16(*b) + 0x8000u) & 0xffff0000u;
    *a -= as_float16(high_a);
    *b -= as_float16(high_b);
    return high_a >> 16 | high_b;
}

inline void configure(void) {
    // Palette 1; all eight tiles have 16 rows of 64 bytes.
    uint config[16] __attribute__((aligned(64))) = {1, 0, 0, 0, 0x00400040, 0x00400040, 0x00400040, 0x00400040,
                                                    0, 0, 0, 0, 0x10101010, 0x10101010, 0, 0};
    __asm__ volatile("ldtilecfg (%0)" ::"r"(config) : "memory");
}

inline void release(void) { __asm__ volatile("tilerelease" ::: "memory"); }

inline void zero_sums(void) {
    __asm__ volatile("tilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm3" ::: "memory");
}

// Pointers may be of any address space. Four tiles of sums, two side by side, their rows `stride` bytes apart; the lower
// two at `below`.
#define LOAD_SUMS(sums, below, stride)                                                             \
    __asm__ volatile("tileloadd (%0,%2,1),%%tmm0\n\ttileloadd 64(%0,%2,1),%%tmm1\n\t"              \
                     "tileloadd (%1,%2,1),%%tmm2\n\ttileloadd 64(%1,%2,1),%%tmm3" ::"r"(sums),     \
                     "r"(below), "r"((ulong)(stride))                                              \
                     : "memory")
#define STORE_SUMS(sums, below, stride)                                                            \
    __asm__ volatile("tilestored %%tmm0,(%0,%2,1)\n\ttilestored %%tmm1,64(%0,%2,1)\n\t"            \
                     "tilestored %%tmm2,(%1,%2,1)\n\ttilestored %%tmm3,64(%1,%2,1)" ::"r"(sums),   \
                     "r"(below), "r"((ulong)(stride))                                              \
                     : "memory")

// Tiles 0 to 3 are the sums of rows of x (0, 0, 16, 16) and columns of w (0, 16, 0, 16), 4 and 5 x, 6 and 7 w. A tile
// of the next operand is loaded as soon as the products with the one before are under way.
#define LOAD_X(tile, at) "tileloaddt1 " at "(%0,%2,1),%%tmm" tile "\n\t"
#define LOAD_W(tile, at) "tileloadd " at "(%1,%2,1),%%tmm" tile "\n\t"
#define PRODUCT(sum, x, w) "tdpbf16ps %%tmm" w ",%%tmm" x ",%%tmm" sum "\n\t"
#define LOAD(x, below_x, w, below_w) LOAD_X("4", x) LOAD_W("6", w) LOAD_W("7", below_w) LOAD_X("5", below_x)
#define MULTIPLY PRODUCT("0", "4", "6") PRODUCT("1", "4", "7") PRODUCT("2", "5", "6") PRODUCT("3", "5", "7")
#define MULTIPLY_LOAD_X(at, below) \
    PRODUCT("0", "4", "6") PRODUCT("1", "4", "7") LOAD_X("4", at) PRODUCT("2", "5", "6") PRODUCT("3", "5", "7") LOAD_X("5", below)
#define MULTIPLY_LOAD_W(at, below) \
    PRODUCT("0", "4", "6") PRODUCT("2", "5", "6") LOAD_W("6", at) PRODUCT("1", "4", "7") PRODUCT("3", "5", "7") LOAD_W("7", below)

// Small products first.
#if PARTS == 1
#define PRODUCTS MULTIPLY
#elif PARTS == 2
#define PRODUCTS MULTIPLY_LOAD_X("2048", "3072") MULTIPLY_LOAD_W("2048", "3072") MULTIPLY
#else
#define PRODUCTS                                                          \
    MULTIPLY_LOAD_X("2048", "3072") MULTIPLY_LOAD_W("2048", "3072")       \
    MULTIPLY_LOAD_X("4096", "5120") MULTIPLY_LOAD_W("0", "1024") MULTIPLY
#endif
#define MULTIPLY_STEP(x, w) \
    __asm__ volatile(LOAD("0", "1024", "0", "1024") PRODUCTS ::"r"(x), "r"(w), "r"((ulong)64) : "memory")

#endif
