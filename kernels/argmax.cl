// ids[r], values[r] = the index and value of the largest of logits[r]; the lowest index of equals; NaN is above all. Portable.
//
// logits_RV  float32 in   [R, V]
// ids_R      int32 out    [R]
// values_R   float32 out  [R]
// Global size (R * GROUP), local size (GROUP).

#include "order.cl"

#ifndef GROUP
#define GROUP 64 // work-items a row; a power of two
#endif

__kernel void argmax(__global const float *logits_RV, __global int *ids_R, __global float *values_R, uint V) {
    __local float values[GROUP];
    __local uint ids[GROUP];
    uint item = get_local_id(0), r = get_group_id(0);
    __global const float *logits = logits_RV + (ulong)r * V;
    float value = -INFINITY;
    uint id = V;
    for (uint v = item; v < V; v += GROUP) {
        if (above(logits[v], v, value, id)) {
            value = logits[v];
            id = v;
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
        ids_R[r] = ids[0];
        values_R[r] = values[0];
    }
}
