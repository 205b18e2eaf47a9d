// Pieces of inline assembly for AVX-512, in AT&T's order of operands. Included; defines no kernel.
// Registers are saved and restored, since the language has no names for them to tell the compiler.
#ifndef ASSEMBLY_CL
#define ASSEMBLY_CL

#define TEXT_OF(...) #__VA_ARGS__
#define TEXT(...) TEXT_OF(__VA_ARGS__)
#define LINE(...) __VA_ARGS__ "\n\t"
#define Z(n) "%%zmm" TEXT(n)
#define ZERO(n) LINE("vpxord " Z(n) "," Z(n) "," Z(n))

#define FOR_REGISTERS(DO)                                                                                        \
    DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15) DO(16) \
    DO(17) DO(18) DO(19) DO(20) DO(21) DO(22) DO(23) DO(24) DO(25) DO(26) DO(27) DO(28) DO(29) DO(30) DO(31)
#define SAVE(n) LINE("vmovdqu64 " Z(n) ",64*" #n "(%[saved])")
#define RESTORE(n) LINE("vmovdqu64 64*" #n "(%[saved])," Z(n))

#endif
