// Softmax of logits[r] in place, and its normaliser: totals[r] = log of the sum over v of exp(logits[r, v]); portable.
//
// logits_RV  float32 in/out  [R, V], replaced by probabilities exp(logits - maximum) / sum when write is 1
// totals_R   float32 out     [R]
// Global size (R * GROUP), local size (GROUP). Accumulator: float32, the row's maximum taken out first.

#ifndef GROUP
#define GROUP 64 // work-items a row; a power of two
#endif

__kernel void softmax(__global float *logits_RV, __global float *totals_R, uint V, uint write) {
    __local float reduced[GROUP];
    uint item = get_local_id(0), r = get_group_id(0);
    __global float *logits = logits_RV + (ulong)r * V;
    float highest = -INFINITY;
    for (uint v = item; v < V; v += GROUP) highest = fmax(highest, logits[v]);
    reduced[item] = highest;
    for (uint half_group = GROUP / 2; half_group > 0; half_group /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE); // the maxima of the previous round are all written
        if (item < half_group) reduced[item] = fmax(reduced[item], reduced[item + half_group]);
    }
    barrier(CLK_LOCAL_MEM_FENCE); // the maximum is written before every item reads it
    highest = reduced[0];
    float sum = 0.0f;
    for (uint v = item; v < V; v += GROUP) sum += exp(logits[v] - highest);
    barrier(CLK_LOCAL_MEM_FENCE); // the maximum is read before sums are written
    reduced[item] = sum;
    for (uint half_group = GROUP / 2; half_group > 0; half_group /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE); // the sums of the previous round are all written
        if (item < half_group) reduced[item] += reduced[item + half_group];
    }
    barrier(CLK_LOCAL_MEM_FENCE); // the total is written before every item reads it
    if (item == 0) totals_R[r] = highest + log(reduced[0]);
    if (write) {
        for (uint v = item; v < V; v += GROUP) logits[v] = exp(logits[v] - highest) / reduced[0];
    }
}
