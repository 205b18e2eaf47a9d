// Softmax of logits[r] in place, and its normaliser: totals[r] = log of the sum over v of exp(logits[r, v]).
// CPU family: one work-item a row.
//
// logits_RV  float32 in/out  [R, V], replaced by probabilities exp(logits - maximum) / sum when write is 1
// totals_R   float32 out     [R]
// Global size (R), local size (1). Accumulator: float32 in 16 lanes, the row's maximum taken out first.

#include "float16.cl"

__kernel void softmax(__global float *logits_RV, __global float *totals_R, uint V, uint write) {
    uint r = get_global_id(0);
    __global float *logits = logits_RV + (ulong)r * V;
    uint whole = V / 16 * 16;
    float16 highest16 = -INFINITY, sums = 0.0f;
    for (uint v = 0; v < whole; v += 16) highest16 = fmax(highest16, vload16(0, logits + v));
    float highest = max16(highest16);
    for (uint v = whole; v < V; v++) highest = fmax(highest, logits[v]);
    for (uint v = 0; v < whole; v += 16) sums += exp(vload16(0, logits + v) - highest);
    float sum = sum16(sums);
    for (uint v = whole; v < V; v++) sum += exp(logits[v] - highest);
    totals_R[r] = highest + log(sum);
    if (!write) return;
    for (uint v = 0; v < whole; v += 16) vstore16(exp(vload16(0, logits + v) - highest) / sum, 0, logits + v);
    for (uint v = whole; v < V; v++) logits[v] = exp(logits[v] - highest) / sum;
}
