/* AMX instructions in many encodings, to be called from Python on real hardware or on the emulator. */
#include <stdint.h>

typedef struct {
    uint8_t bytes[64];
} Config;

static Config here;

void configure(const Config *config) { __asm__ volatile("ldtilecfg (%0)" ::"r"(config) : "memory"); }

/* By an address relative to the instruction's own. */
void configure_here(const Config *config) {
    here = *config;
    __asm__ volatile("ldtilecfg %0" ::"m"(here) : "memory");
}

void store_configuration(Config *config) {
    register Config *base __asm__("r13") = config - 2;
    register uint64_t index __asm__("r14") = 16;
    __asm__ volatile("sttilecfg (%0,%1,8)" ::"r"(base), "r"(index) : "memory");
}

void release(void) { __asm__ volatile("tilerelease" ::: "memory"); }

/* tmm0 += tmm1 tmm2, by the product of a number; the operands come from memory, the result goes there. */
#define PRODUCT(name, instruction)                                                               \
    void name(const void *a, int64_t a_stride, const void *b, int64_t b_stride, void *c, int64_t c_stride) { \
        __asm__ volatile("tileloadd (%4,%5,1),%%tmm0\n\ttileloadd (%0,%1,1),%%tmm1\n\t"          \
                         "tileloadd (%2,%3,1),%%tmm2\n\t" instruction                            \
                         " %%tmm2,%%tmm1,%%tmm0\n\ttilestored %%tmm0,(%4,%5,1)" ::"r"(a),        \
                         "r"(a_stride), "r"(b), "r"(b_stride), "r"(c), "r"(c_stride)             \
                         : "memory");                                                            \
    }
PRODUCT(bf16, "tdpbf16ps")
PRODUCT(s8_s8, "tdpbssd")
PRODUCT(s8_u8, "tdpbsud")
PRODUCT(u8_s8, "tdpbusd")
PRODUCT(u8_u8, "tdpbuud")

/* The same product with other tiles, the upper registers, scales and displacements of both lengths. */
void bf16_elsewhere(const void *a, int64_t a_stride, const void *b, int64_t b_stride, void *c, int64_t c_stride) {
    register const char *a_base __asm__("r12") = (const char *)a - 16;
    register int64_t a_index __asm__("r8") = a_stride / 2;
    register const char *b_base __asm__("r13") = (const char *)b + 4096;
    register int64_t b_index __asm__("r15") = b_stride / 4;
    register char *c_base __asm__("rax") = (char *)c;
    register int64_t c_index __asm__("r9") = c_stride / 8;
    __asm__ volatile("tilezero %%tmm7\n\ttileloaddt1 16(%0,%1,2),%%tmm5\n\t"
                     "tileloaddt1 -4096(%2,%3,4),%%tmm6\n\ttileloadd (%4,%5,8),%%tmm7\n\t"
                     "tdpbf16ps %%tmm6,%%tmm5,%%tmm7\n\ttilestored %%tmm7,(%4,%5,8)" ::"r"(a_base),
                     "r"(a_index), "r"(b_base), "r"(b_index), "r"(c_base), "r"(c_index)
                     : "memory");
}

/* The first row of `in` in every row of `out`: a load without an index has the stride zero. */
void spread(const void *in, void *out, int64_t stride) {
    __asm__ volatile("tileloadd (%0),%%tmm3\n\ttilestored %%tmm3,(%1,%2,1)" ::"r"(in), "r"(out), "r"(stride)
                     : "memory");
}

/* Zeros, whatever the tile held. */
void clear(const void *in, void *out, int64_t stride) {
    __asm__ volatile("tileloadd (%0,%2,1),%%tmm4\n\ttilezero %%tmm4\n\ttilestored %%tmm4,(%1,%2,1)" ::"r"(in), "r"(out),
                     "r"(stride)
                     : "memory");
}

void no_amx_instruction(void) { __asm__ volatile("ud2"); }
