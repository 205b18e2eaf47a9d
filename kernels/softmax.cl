// The normaliser of each row, totals[r] = log of the sum over v of exp(logits[r, v]), and softmax in place; portable.
// A row is divided into parts, so that a long one has many work-groups.
//
// softmax_parts:  logits_RV  float32 in      [R, V]
//                 parts_RP2  float32 out     [R, P, 2]: highest logit of each part, sum of exp(logit - highest)
//                 global size (GROUP * P, R), local size (GROUP, 1), P = ceil(V / part)
// softmax_totals: parts_RP2  float32 in      [R, P, 2]
//                 ends_R2    float32 out     [R, 2]: the same of the whole row
//                 totals_R   float32 out     [R]
//                 global size (GROUP, R), local size (GROUP, 1)
// softmax_write:  ends_R2    float32 in      [R, 2]
//                 logits_RV  float32 in/out  [R, V], replaced by probabilities exp(logits - highest) / sum
//                 global size (at least V, R), any local size
// Accumulators: float32.

#ifndef GROUP
#define GROUP 64 // work-items that reduce together; a power of two
#endif

// The highest and the sum of the group's (highest, sum), in every item; sums are relative to their highest.
inline float2 combined(float2 own, __local float2 *shared) {
    uint item = get_local_id(0);
    shared[item] = own;
    for (uint half_group = GROUP / 2; half_group > 0; half_group /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE); // the results of the previous round are all written
        if (item < half_group) {
            float2 a = shared[item], b = shared[item + half_group];
            float highest = fmax(a.x, b.x);
            // Nothing is subtracted from an equal: of minus infinity that would not be a number.
            shared[item] = (float2)(highest, (a.x == highest ? a.y : a.y * exp(a.x - highest)) +
                                                 (b.x == highest ? b.y : b.y * exp(b.x - highest)));
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE); // the result is written before every item reads it
    return shared[0];
}

__kernel void softmax_parts(__global const float *logits_RV, __global float *parts_RP2, uint V, uint part) {
    __local float2 shared[GROUP];
    uint item = get_local_id(0), p = get_group_id(0), r = get_group_id(1);
    uint end = min((p + 1) * part, V);
    __global const float *logits = logits_RV + (ulong)r * V;
    float highest = -INFINITY, sum = 0.0f;
    for (uint v = p * part + item; v < end; v += GROUP) highest = fmax(highest, logits[v]);
    for (uint v = p * part + item; v < end; v += GROUP) sum += logits[v] == highest ? 1.0f : exp(logits[v] - highest);
    float2 result = combined((float2)(highest, sum), shared);
    if (item == 0) vstore2(result, (ulong)r * get_num_groups(0) + p, parts_RP2);
}

__kernel void softmax_totals(__global const float *parts_RP2, __global float *ends_R2, __global float *totals_R, uint P) {
    __local float2 shared[GROUP];
    uint item = get_local_id(0), r = get_group_id(1);
    float highest = -INFINITY, sum = 0.0f;
    for (uint p = item; p < P; p += GROUP) highest = fmax(highest, parts_RP2[((ulong)r * P + p) * 2]);
    for (uint p = item; p < P; p += GROUP) {
        float2 part = vload2((ulong)r * P + p, parts_RP2);
        sum += part.x == highest ? part.y : part.y * exp(part.x - highest);
    }
    float2 result = combined((float2)(highest, sum), shared);
    if (item == 0) {
        vstore2(result, r, ends_R2);
        totals_R[r] = result.x + log(result.y);
    }
}

__kernel void softmax_write(__global const float *ends_R2, __global float *logits_RV, uint V) {
    uint v = get_global_id(0), r = get_global_id(1);
    if (v < V) logits_RV[(ulong)r * V + v] = exp(logits_RV[(ulong)r * V + v] - ends_R2[r * 2]) / ends_R2[r * 2 + 1];
}
