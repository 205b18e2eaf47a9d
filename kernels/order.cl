// The order in which logits are ranked: NaN first, then by value, the lower index first among equals.
// Included by the kernels that select; defines no kernel. Valid OpenCL C 1.2.
#ifndef ORDER_CL
#define ORDER_CL

#define NO_INDEX 0xffffffffu // ranks below every other index of the same value

// Whether (a, i) ranks above (b, j).
inline int above(float a, uint i, float b, uint j) {
    if (isnan(a) || isnan(b)) return isnan(a) && (!isnan(b) || i < j);
    return a > b || (a == b && i < j);
}

#endif
