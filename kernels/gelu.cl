// x[i] = gelu(x[i]) with gelu(a) = a / 2 * (1 + tanh(u)) = a / (1 + exp(-2 u)), u = sqrt(2 / pi) * (a + 0.044715 a^3);
// portable: one work-item an element.
//
// x  float32 in/out  [count]
// Global size at least count, any local size.

__kernel void gelu(__global float *x, uint count) {
    uint i = get_global_id(0);
    if (i >= count) return;
    float a = x[i];
    x[i] = a / (1.0f + exp(-1.5957691216f * (a + 0.044715f * a * a * a)));
}
