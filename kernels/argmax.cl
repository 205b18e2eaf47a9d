// The index and value of the largest of each part of a row; the lowest index of equals; NaN is above all. Portable.
// Rows longer than a part take two runs: the second finds the largest of the parts' largest.
//
// values_RV  float32 in   [R, V]
// ids_RV     int32 in     [R, V], the indices that the values stand for; read when given is 1, else 0 to V - 1
// ids_RP     int32 out    [R, P], P = ceil(V / part)
// values_RP  float32 out  [R, P]
// Global size (GROUP * P, R), local size (GROUP, 1): a work-group has a part.

#include "order.cl"

#ifndef GROUP
#define GROUP 64 // work-items a part; a power of two
#endif

__kernel void argmax(__global const float *values_RV, __global const int *ids_RV, __global int *ids_RP,
                     __global float *values_RP, uint V, uint part, uint given) {
    __local float values[GROUP];
    __local uint ids[GROUP];
    uint item = get_local_id(0), p = get_group_id(0), r = get_group_id(1);
    uint end = min((p + 1) * part, V);
    float value = -INFINITY;
    uint id = NO_INDEX;
    for (uint v = p * part + item; v < end; v += GROUP) {
        ulong at = (ulong)r * V + v;
        uint index = given ? (uint)ids_RV[at] : v;
        float x = values_RV[at];
        if (above(x, index, value, id)) {
            value = x;
            id = index;
        }
    }
    values[item] = value;
    ids[item] = id;
    for (uint half_group = GROUP / 2; half_group > 0; half_group /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE); // the winners of the previous round are all written
        if (item < half_group &&
            above(values[item + half_group], ids[item + half_group], values[item], ids[item])) {
            values[item] = values[item + half_group];
            ids[item] = ids[item + half_group];
        }
    }
    if (item == 0) {
        ids_RP[(ulong)r * get_num_groups(0) + p] = ids[0];
        values_RP[(ulong)r * get_num_groups(0) + p] = values[0];
    }
}
