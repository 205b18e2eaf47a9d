// The k largest of each part of a row, in descending order; the lower index first among equals; NaN is above all. Portable.
// Rows longer than a part take two runs: the second finds the largest of what the first found in the parts.
//
// values_RV   float32 in   [R, V]
// ids_RV      int32 in     [R, V], the indices that the values stand for; read when given is 1, else 0 to V - 1
// ids_RPk     int32 out    [R, P, k], P = ceil(V / part); a part of fewer than k values is filled up with NO_INDEX
// values_RPk  float32 out  [R, P, k]
// Global size (GROUP * P, R), local size (GROUP, 1): a work-group has a part.
// Round i finds the largest below the winner of round i - 1 in the order of (value, index).

#include "order.cl"

#ifndef GROUP
#define GROUP 64 // work-items a part; a power of two
#endif

__kernel void top_k(__global const float *values_RV, __global const int *ids_RV, __global int *ids_RPk,
                    __global float *values_RPk, uint V, uint part, uint given, uint k) {
    __local float values[GROUP];
    __local uint ids[GROUP];
    uint item = get_local_id(0), p = get_group_id(0), r = get_group_id(1);
    uint end = min((p + 1) * part, V);
    ulong out = ((ulong)r * get_num_groups(0) + p) * k;
    float last_value = 0.0f;
    uint last_id = 0;
    for (uint i = 0; i < k; i++) {
        float value = -INFINITY;
        uint id = NO_INDEX;
        for (uint v = p * part + item; v < end; v += GROUP) {
            ulong at = (ulong)r * V + v;
            uint index = given ? (uint)ids_RV[at] : v;
            float x = values_RV[at];
            if (above(x, index, value, id) && (i == 0 || above(last_value, last_id, x, index))) {
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
        barrier(CLK_LOCAL_MEM_FENCE); // the winner is written before every item reads it
        last_value = values[0];
        last_id = ids[0];
        barrier(CLK_LOCAL_MEM_FENCE); // the winner is read before the next round writes
        if (item == 0) {
            ids_RPk[out + i] = last_id;
            values_RPk[out + i] = last_value;
        }
    }
}
