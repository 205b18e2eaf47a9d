// The k largest of logits[r], in descending order; the lower index first among equals; NaN is above all. Portable.
//
// logits_RV  float32 in   [R, V]
// ids_Rk     int32 out    [R, k], k <= V
// values_Rk  float32 out  [R, k]
// Global size (R * GROUP), local size (GROUP).
// Round i finds the largest below the winner of round i - 1 in the order of (value, index).

#include "order.cl"

#ifndef GROUP
#define GROUP 64 // work-items a row; a power of two
#endif

__kernel void top_k(__global const float *logits_RV, __global int *ids_Rk, __global float *values_Rk,
                    uint V, uint k) {
    __local float values[GROUP];
    __local uint ids[GROUP];
    uint item = get_local_id(0), r = get_group_id(0);
    __global const float *logits = logits_RV + (ulong)r * V;
    float last_value = 0.0f;
    uint last_id = V;
    for (uint i = 0; i < k; i++) {
        float value = -INFINITY;
        uint id = V;
        for (uint v = item; v < V; v += GROUP) {
            float x = logits[v];
            if (above(x, v, value, id) && (i == 0 || above(last_value, last_id, x, v))) {
                value = x;
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
        barrier(CLK_LOCAL_MEM_FENCE); // the winner is written before every item reads it
        last_value = values[0];
        last_id = ids[0];
        barrier(CLK_LOCAL_MEM_FENCE); // the winner is read before the next round writes
        if (item == 0) {
            ids_Rk[(ulong)r * k + i] = last_id;
            values_Rk[(ulong)r * k + i] = last_value;
        }
    }
}
