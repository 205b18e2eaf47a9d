// Activation functions, of float or of vectors. Included; defines no kernel. Valid OpenCL C 1.2.
//
// SILU(a)        a / (1 + exp(-a))
// GELU_TANH(a)   a / 2 * (1 + tanh(u)) = a / (1 + exp(-2 u)), u = sqrt(2 / pi) * (a + 0.044715 a^3)
// ACTIVATION(a)  the one of these that GELU chooses
#ifndef ACTIVATION_CL
#define ACTIVATION_CL

#ifndef GELU
#define GELU 0 // 1: ACTIVATION is gelu; 0: silu
#endif

#define SILU(a) ((a) / (1.0f + exp(-(a))))
#define GELU_TANH(a) ((a) / (1.0f + exp(-1.5957691216f * ((a) + 0.044715f * (a) * (a) * (a)))))
#if GELU
#define ACTIVATION GELU_TANH
#else
#define ACTIVATION SILU
#endif

#endif
