// picked[r] = logits[r, ids[r]]; portable: one work-item a row.
//
// logits_RV  float32 in   [R, V]
// ids_R      int32 in     [R], each in [0, V)
// picked_R   float32 out  [R]
// Global size (at least R), any local size.

__kernel void pick(__global const float *logits_RV, __global const int *ids_R, __global float *picked_R, uint R, uint V) {
    uint r = get_global_id(0);
    if (r < R) picked_R[r] = logits_RV[(ulong)r * V + (uint)ids_R[r]];
}
