// c[i] = a[i] b[i] on Intel AMX: whether the instructions work here at all. Run in a child process, for where they do not
// they end it.
//
// a_tiles ushort in   [items, 16, 32] bfloat16, row-major
// b_tiles ushort in   [items, 16, 16, 2]: element (2 k, n), (2 k + 1, n) of a 32 x 16 matrix
// c_tiles float  out  [items, 16, 16]
// Global size (items), local size (1). Accumulator: float32.

__kernel void check_amx(__global const ushort *a_tiles, __global const ushort *b_tiles, __global float *c_tiles) {
    ulong i = get_global_id(0), stride = 64;
    // Palette 1; tiles 0 to 2 have 16 rows of 64 bytes.
    uint config[16] __attribute__((aligned(64))) = {1, 0, 0, 0, 0x00400040, 0x00000040, 0, 0, 0, 0, 0, 0, 0x00101010, 0, 0, 0};
    __asm__ volatile("ldtilecfg (%0)" ::"r"(config) : "memory");
    __asm__ volatile("tilezero %%tmm0\n\ttileloadd (%0,%3,1),%%tmm1\n\ttileloaddt1 (%1,%3,1),%%tmm2\n\t"
                     "tdpbf16ps %%tmm2,%%tmm1,%%tmm0\n\ttilestored %%tmm0,(%2,%3,1)" ::"r"(a_tiles + i * 512),
                     "r"(b_tiles + i * 512), "r"(c_tiles + i * 256), "r"(stride)
                     : "memory");
    __asm__ volatile("tilerelease" ::: "memory");
}
