// The matrix operations of Intel's GPUs on fragments in registers. Included; defines no kernel.
//
// A subgroup is SUBGROUP work-items, one after the other in a one-dimensional work-group of THREADS, and all items of a
// work-group use DPAS together. EMULATE 0 is cl_intel_subgroup_matrix_multiply_accumulate, whose functions want the
// device's smallest subgroup, 8 (Xe-HPG) or 16 items (Xe-HPC, Xe2), and the block reads of cl_intel_subgroups and
// cl_intel_subgroups_short; EMULATE 1 does the same in plain OpenCL C 1.2 through local memory and barriers, with the
// fragments laid out as the extension has them, so that a kernel that uses these is tested on any device.
//
// LANE, SUBGROUP_NUMBER         of the item in its subgroup, of the subgroup in its work-group
// A_ROW, A_FRAGMENT             types of an item's part of a row, and of 8 rows, of 16 float16 numbers: with 8 items
//                               columns 2 LANE and + 1 (int), with 16 column LANE (short)
// DPAS_LOCAL                    declares what the emulation needs, at the top of the kernel
// DPAS(c, a, b)                 c += a b: a 8 x 16 (A_FRAGMENT) and b 16 x SUBGROUP (int8) of float16, c 8 x SUBGROUP
//                               (float8) of float32: component j of b holds rows 2 j and + 1, of c row j, of column LANE
// read_steps(row)               A_ROW2: columns 0 to 15, and 16 to 31, of a row that starts at a multiple of 4 bytes; the
//                               same row for all items of a subgroup
// read_steps_ending(row, n)     the same of any row, zeros in place of columns n and on; nothing past them is touched
// read_words(words)             uint8: component j is word SUBGROUP * j + LANE; the same pointer for all of a subgroup
#ifndef DPAS_CL
#define DPAS_CL

#ifndef EMULATE
#define EMULATE 0
#endif

#if SUBGROUP == 8
#define A_ROW int
#define A_ROW2 int2
#define A_FRAGMENT int8
#elif SUBGROUP == 16
#define A_ROW short
#define A_ROW2 short2
#define A_FRAGMENT short8
#else
#error "subgroups have 8 or 16 items"
#endif

#if EMULATE

#define LANE ((uint)get_local_id(0) % SUBGROUP)
#define SUBGROUP_NUMBER ((uint)get_local_id(0) / SUBGROUP)
#define SUBGROUP_SIZE
#define DPAS_LOCAL __local A_ROW dpas_a[THREADS * 8];

#define DPAS(c, a, b)                                                                             \
    {                                                                                             \
        vstore8(a, get_local_id(0), dpas_a);                                                      \
        barrier(CLK_LOCAL_MEM_FENCE); /* the fragments are written before others read them */     \
        c = dpas_column(dpas_a + SUBGROUP_NUMBER * SUBGROUP * 8, b, c);                           \
        barrier(CLK_LOCAL_MEM_FENCE); /* they are read before they are written again */           \
    }

// c + a b in one column; a as the items of the subgroup hold it, one after the other.
inline float8 dpas_column(__local const A_ROW *a, int8 b, float8 c) {
    uint pairs[8];
    float sums[8];
    vstore8(as_uint8(b), 0, pairs);
    vstore8(c, 0, sums);
    for (uint row = 0; row < 8; row++) {
        for (uint j = 0; j < 8; j++) {
#if SUBGROUP == 8
            uint bits = as_uint(a[j * 8 + row]);
#else
            uint bits = as_ushort(a[2 * j * 8 + row]) | (uint)as_ushort(a[(2 * j + 1) * 8 + row]) << 16;
#endif
            float2 x = halves_of(bits), y = halves_of(pairs[j]);
            sums[row] = mad(x.y, y.y, mad(x.x, y.x, sums[row]));
        }
    }
    return vload8(0, sums);
}

inline A_ROW2 read_steps(__global const half *row) {
    __global const A_ROW *p = (__global const A_ROW *)row;
    return (A_ROW2)(p[LANE], p[SUBGROUP + LANE]);
}

inline uint8 read_words(__global const uint *words) {
    uint word[8];
    for (uint j = 0; j < 8; j++) word[j] = words[SUBGROUP * j + LANE];
    return vload8(0, word);
}

#else

#pragma OPENCL EXTENSION cl_intel_subgroups : enable

#define LANE get_sub_group_local_id()
#define SUBGROUP_NUMBER get_sub_group_id()
#define SUBGROUP_SIZE __attribute__((intel_reqd_sub_group_size(SUBGROUP)))
#define DPAS_LOCAL
#define DPAS(c, a, b) c = intel_sub_group_f16_f16_matrix_mad_k16(a, b, c);

inline A_ROW2 read_steps(__global const half *row) {
#if SUBGROUP == 8
    return as_int2(intel_sub_group_block_read2((__global const uint *)row));
#else
    return as_short2(intel_sub_group_block_read_us2((__global const ushort *)row));
#endif
}

inline uint8 read_words(__global const uint *words) { return intel_sub_group_block_read8(words); }

#endif

inline A_ROW2 read_steps_ending(__global const half *row, uint n) {
    __global const short *p = (__global const short *)row;
#if SUBGROUP == 8
    uint i = 2 * LANE, j = 16 + i;
    return (int2)(as_int((short2)(i < n ? p[i] : 0, i + 1 < n ? p[i + 1] : 0)),
                  as_int((short2)(j < n ? p[j] : 0, j + 1 < n ? p[j + 1] : 0)));
#else
    uint i = LANE, j = 16 + i;
    return (short2)(i < n ? p[i] : 0, j < n ? p[j] : 0);
#endif
}

#endif
