// The k largest of logits[r], in descending order; the lower index first among equals; NaN is above all.
// CPU family: one work-item a row.
//
// logits_RV  float32 in   [R, V]
// ids_Rk     int32 out    [R, k], k <= min(V, MOST)
// values_Rk  float32 out  [R, k]
// Global size (R), local size (1).
// The best so far are kept in order; a vector of sixteen that holds nothing better is passed over at once.

#include "float16.cl"

#ifndef MOST
#define MOST 64 // largest k
#endif

__kernel void top_k(__global const float *logits_RV, __global int *ids_Rk, __global float *values_Rk,
                    uint V, uint k) {
    uint r = get_global_id(0);
    __global const float *logits = logits_RV + (ulong)r * V;
    float values[MOST];
    int ids[MOST];
    uint kept = 0;
    for (uint v0 = 0; v0 < V; v0 += 16) {
        uint end = min(v0 + 16, V);
        // Not "greater": a NaN makes the comparison false and is looked at below.
        if (kept == k && v0 + 16 <= V && all(vload16(0, logits + v0) <= values[k - 1])) continue;
        for (uint v = v0; v < end; v++) {
            float x = logits[v];
            uint at = kept;
            while (at > 0 && (isnan(x) ? !isnan(values[at - 1]) : x > values[at - 1])) at--;
            if (at >= k) continue;
            if (kept < k) kept++;
            for (uint i = kept - 1; i > at; i--) {
                values[i] = values[i - 1];
                ids[i] = ids[i - 1];
            }
            values[at] = x;
            ids[at] = v;
        }
    }
    for (uint i = 0; i < k; i++) {
        ids_Rk[(ulong)r * k + i] = ids[i];
        values_Rk[(ulong)r * k + i] = values[i];
    }
}
