// ids[r], values[r] = the index and value of the largest of logits[r]; the lowest index of equals; NaN is above all.
// CPU family: one work-item a row.
//
// logits_RV  float32 in   [R, V]
// ids_R      int32 out    [R]
// values_R   float32 out  [R]
// Global size (R), local size (1).

#include "float16.cl"

__kernel void argmax(__global const float *logits_RV, __global int *ids_R, __global float *values_R, uint V) {
    uint r = get_global_id(0);
    __global const float *logits = logits_RV + (ulong)r * V;
    float16 highest = -INFINITY;
    int16 nan = 0;
    uint v = 0;
    for (; v + 16 <= V; v += 16) {
        float16 x = vload16(0, logits + v);
        highest = fmax(highest, x);
        nan |= isnan(x);
    }
    float value = max16(highest);
    int found_nan = any(nan);
    for (; v < V; v++) {
        value = fmax(value, logits[v]);
        found_nan |= isnan(logits[v]);
    }
    uint id = 0;
    if (found_nan) {
        while (!isnan(logits[id])) id++;
    } else {
        while (logits[id] != value) id++;
    }
    ids_R[r] = id;
    values_R[r] = logits[id];
}
