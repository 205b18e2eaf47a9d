// Q8_0 for the cache: up to 32 numbers become bytes that a float16 scale multiplies. Included; defines no kernel.
#ifndef Q8_0_CL
#define Q8_0_CL

// The largest of them becomes 127, or -127.
inline float q8_0_scale(float largest) { return largest / 127.0f; }

// What makes bytes of the numbers; those whose scale float16 cannot hold are zeros.
inline float q8_0_factor(float scale) { return scale > 1e-8f ? 1.0f / scale : 0.0f; }

inline char q8_0_byte(float x, float factor) { return convert_char_sat(round(x * factor)); }

#endif
