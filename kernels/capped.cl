// How attention limits its scores. Included; defines no kernel. Valid OpenCL C 1.2.
//
// With SOFTCAP a score s = q . k * scale becomes softcap * tanh(s / softcap), before it is masked; `scale` and `softcap`
// are arguments of the kernel that includes this.
// QUERY_FACTOR  what queries are multiplied by before they meet the keys
// CAPPED(s)     the score, in units of SCORE_UNIT, of such a product; of float or of vectors
#ifndef CAPPED_CL
#define CAPPED_CL

#ifndef SOFTCAP
#define SOFTCAP 0 // 1: scores are limited
#endif
#ifndef SCORE_UNIT
#define SCORE_UNIT 1.0f // M_LOG2E_F: scores are in units of log 2
#endif

#if SOFTCAP && defined(FLOAT16_CL)
// To 1.3e-7 of its largest value.
inline float16 tanh_of(float16 x) {
    float16 e = exp2_negative(fabs(x) * (-2.0f * M_LOG2E_F));
    return copysign((1.0f - e) / (1.0f + e), x);
}
#else
#define tanh_of tanh
#endif

#if SOFTCAP
#define QUERY_FACTOR (scale / softcap)
#define CAPPED(s) ((softcap * SCORE_UNIT) * tanh_of(s))
#else
#define QUERY_FACTOR (scale * SCORE_UNIT)
#define CAPPED(s) (s)
#endif

#endif
