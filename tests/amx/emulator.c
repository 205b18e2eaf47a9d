/* Intel AMX in software: a library to preload (LD_PRELOAD) on x86-64 Linux without it.
 *
 * On such a machine an AMX instruction raises SIGILL. The handler decodes it, does what the manual
 * says ("Intel 64 and IA-32 Architectures Software Developer's Manual", volume 2, AMX instructions),
 * and goes on after it; AMX instructions that follow at once are done in the same call. Whatever is
 * no AMX instruction ends the process as it would have without the library. The kernel's permission
 * to use tiles is asked by arch_prctl; the answer is given here too, and an AMX instruction before
 * the permission ends the process as it does on real hardware.
 *
 * AMX_EMULATOR in the environment plays machines on which AMX does not work: "deny" refuses the
 * permission, "fault" grants it and executes nothing, "wrong" computes wrong results. Runtimes that
 * install a handler of their own for SIGILL are told that they have.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <immintrin.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { TILES = 8, MAX_ROWS = 16, ROW_BYTES = 64 };
enum { ARCH_GET_XCOMP_PERM = 0x1022, ARCH_REQ_XCOMP_PERM = 0x1023, XTILE_DATA = 18 };

typedef struct {
    uint8_t palette, start_row;
    uint8_t reserved[14];
    uint16_t column_bytes[16];
    uint8_t rows[16];
} Config;
_Static_assert(sizeof(Config) == 64, "the operand of ldtilecfg");

typedef union {
    uint8_t bytes[MAX_ROWS][ROW_BYTES];
    int8_t s8[MAX_ROWS][ROW_BYTES];
    uint16_t bf16[MAX_ROWS][ROW_BYTES / 2];
    float f32[MAX_ROWS][ROW_BYTES / 4];
    int32_t s32[MAX_ROWS][ROW_BYTES / 4];
} Tile;

/* Read in a signal handler: must not be allocated at first use. */
static __thread __attribute__((tls_model("initial-exec"))) Config config;
static __thread __attribute__((tls_model("initial-exec"))) Tile tiles[TILES];
static volatile int permitted;
static uint8_t faulty;

static int plays(const char *what) {
    const char *role = getenv("AMX_EMULATOR");
    return role && !strcmp(role, what);
}

static int usable(int tile) { return config.palette == 1 && config.rows[tile] != 0; }

static int load_config(const void *memory) {
    Config wanted;
    memcpy(&wanted, memory, sizeof wanted);
    memset(tiles, 0, sizeof tiles);
    if (wanted.palette == 0) {
        memset(&config, 0, sizeof config);
        return 1;
    }
    if (wanted.palette != 1 || wanted.start_row != 0) return 0;
    for (int i = 0; i < 14; i++)
        if (wanted.reserved[i]) return 0;
    for (int i = 0; i < 16; i++) {
        if (i >= TILES && (wanted.rows[i] || wanted.column_bytes[i])) return 0;
        if (wanted.rows[i] > MAX_ROWS || wanted.column_bytes[i] > ROW_BYTES) return 0;
        if (!wanted.rows[i] != !wanted.column_bytes[i]) return 0;
    }
    config = wanted;
    return 1;
}

static void load_tile(int tile, const uint8_t *base, int64_t stride) {
    Tile out;
    memset(&out, 0, sizeof out);
    for (int r = 0; r < config.rows[tile]; r++)
        memcpy(out.bytes[r], base + r * stride, config.column_bytes[tile]);
    tiles[tile] = out;
}

static void store_tile(int tile, uint8_t *base, int64_t stride) {
    tiles[tile].bytes[1][4] ^= faulty;
    for (int r = 0; r < config.rows[tile]; r++)
        memcpy(base + r * stride, tiles[tile].bytes[r], config.column_bytes[tile]);
}

static float widen(uint16_t value) {
    uint32_t bits = (uint32_t)value << 16;
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

/* Each column has two float32 chains, one for the first and one for the second of each pair. Inputs
 * and results that are denormal count as zero, rounding is to nearest even, whatever MXCSR says. */
static void multiply_bf16(int to, int a, int b) {
    unsigned saved = _mm_getcsr();
    _mm_setcsr(0x9fc0); /* DAZ, FTZ, all exceptions masked, round to nearest even */
    int columns = config.column_bytes[to] / 4, depth = config.column_bytes[a] / 4;
    Tile out;
    memset(&out, 0, sizeof out);
    for (int m = 0; m < config.rows[to]; m++) {
        float first[16] = {0}, second[16] = {0};
        for (int k = 0; k < depth; k++) {
            float a0 = widen(tiles[a].bf16[m][2 * k]), a1 = widen(tiles[a].bf16[m][2 * k + 1]);
            for (int n = 0; n < columns; n++) {
                first[n] = fmaf(a0, widen(tiles[b].bf16[k][2 * n]), first[n]);
                second[n] = fmaf(a1, widen(tiles[b].bf16[k][2 * n + 1]), second[n]);
            }
        }
        for (int n = 0; n < columns; n++) {
            volatile float sum = first[n] + second[n]; /* rounded before it is added */
            out.f32[m][n] = tiles[to].f32[m][n] + sum;
        }
    }
    tiles[to] = out;
    _mm_setcsr(saved);
}

static void multiply_int8(int to, int a, int b, int a_signed, int b_signed) {
    int columns = config.column_bytes[to] / 4, depth = config.column_bytes[a] / 4;
    Tile out;
    memset(&out, 0, sizeof out);
    for (int m = 0; m < config.rows[to]; m++)
        for (int n = 0; n < columns; n++) {
            uint32_t sum = (uint32_t)tiles[to].s32[m][n];
            for (int k = 0; k < depth; k++)
                for (int i = 0; i < 4; i++) {
                    int x = a_signed ? tiles[a].s8[m][4 * k + i] : tiles[a].bytes[m][4 * k + i];
                    int y = b_signed ? tiles[b].s8[k][4 * n + i] : tiles[b].bytes[k][4 * n + i];
                    sum += (uint32_t)(x * y);
                }
            out.s32[m][n] = (int32_t)sum;
        }
    tiles[to] = out;
}

static int fits(int to, int a, int b) {
    return to != a && to != b && a != b && usable(to) && usable(a) && usable(b) &&
           config.rows[to] == config.rows[a] && config.column_bytes[to] == config.column_bytes[b] &&
           config.column_bytes[a] / 4 == config.rows[b] && config.column_bytes[to] % 4 == 0 &&
           config.column_bytes[a] % 4 == 0;
}

static greg_t reg(const ucontext_t *context, int number) {
    static const int names[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                  REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    return context->uc_mcontext.gregs[names[number]];
}

static int32_t displacement32(const uint8_t *p) {
    int32_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

/* Do the AMX instruction at `p`; its length, or 0 if there is none that may be executed. */
static int emulate(const uint8_t *p, const ucontext_t *context) {
    int r = 0, x = 0, b = 0, map, w, vvvv, length, pp, n;
    if (p[0] != 0xc4) return 0; /* the 0F38 map needs the three-byte VEX prefix */
    r = p[1] & 0x80 ? 0 : 8;
    x = p[1] & 0x40 ? 0 : 8;
    b = p[1] & 0x20 ? 0 : 8;
    map = p[1] & 0x1f;
    w = p[2] >> 7;
    vvvv = ~(p[2] >> 3) & 15;
    length = p[2] >> 2 & 1;
    pp = p[2] & 3; /* 0 none, 1 66, 2 F3, 3 F2 */
    if (map != 2 || w || length) return 0;
    uint8_t opcode = p[3], modrm = p[4];
    int mod = modrm >> 6, field = modrm >> 3 & 7, rm = modrm & 7;
    if (opcode == 0x5c || opcode == 0x5e) {
        if (!permitted || mod != 3 || r || b || vvvv > 7 || !fits(field, rm, vvvv)) return 0;
        if (opcode == 0x5c) {
            if (pp != 2) return 0;
            multiply_bf16(field, rm, vvvv);
        } else {
            multiply_int8(field, rm, vvvv, pp == 3 || pp == 2, pp == 3 || pp == 1);
        }
        config.start_row = 0;
        return 5;
    }
    if ((opcode != 0x49 && opcode != 0x4b) || vvvv != 0 || !permitted) return 0;
    if (mod == 3) {
        if (opcode != 0x49) return 0;
        if (pp == 0 && modrm == 0xc0) { /* tilerelease */
            memset(&config, 0, sizeof config);
            memset(tiles, 0, sizeof tiles);
            return 5;
        }
        if (pp == 3 && rm == 0 && !r && usable(field)) { /* tilezero */
            memset(&tiles[field], 0, sizeof tiles[field]);
            return 5;
        }
        return 0;
    }
    /* A memory operand; fs and gs prefixes and 32-bit addresses are not known here. */
    int64_t base = 0, stride = 0;
    n = 5;
    if (rm == 4) {
        uint8_t sib = p[n++];
        int index = (sib >> 3 & 7) + x, base_number = (sib & 7) + b;
        if (index != 4) stride = reg(context, index) << (sib >> 6);
        if ((sib & 7) == 5 && mod == 0) {
            base = displacement32(p + n);
            n += 4;
        } else {
            base = reg(context, base_number);
        }
    } else if (opcode == 0x4b) {
        return 0; /* tile loads and stores need an index */
    } else if (mod == 0 && rm == 5) {
        base = (int64_t)(intptr_t)p + n + 4 + displacement32(p + n);
        n += 4;
    } else {
        base = reg(context, rm + b);
    }
    if (mod == 1) base += (int8_t)p[n++];
    if (mod == 2) {
        base += displacement32(p + n);
        n += 4;
    }
    if (opcode == 0x49) {
        void *memory = (void *)(base + stride);
        if (field != 0) return 0;
        if (pp == 0) return load_config(memory) ? n : 0;
        if (pp != 1) return 0;
        memcpy(memory, &config, sizeof config); /* sttilecfg */
        return n;
    }
    if (r || !usable(field)) return 0;
    if (pp == 2)
        store_tile(field, (uint8_t *)base, stride);
    else if (pp == 3 || pp == 1)
        load_tile(field, (const uint8_t *)base, stride);
    else
        return 0;
    return n;
}

static void on_illegal_instruction(int number, siginfo_t *info, void *opaque) {
    (void)info;
    ucontext_t *context = opaque;
    int done = 0, length;
    const uint8_t *p = (const uint8_t *)context->uc_mcontext.gregs[REG_RIP];
    while ((length = emulate(p, context)) != 0) {
        p += length;
        done = 1;
    }
    context->uc_mcontext.gregs[REG_RIP] = (greg_t)p;
    if (!done) { /* the instruction is met again, without a handler */
        struct { void *handler; unsigned long flags; void *restorer; unsigned long mask; } none = {0};
        syscall(SYS_rt_sigaction, number, &none, NULL, 8);
    }
}

typedef int (*Sigaction)(int, const struct sigaction *, struct sigaction *);

__attribute__((constructor)) static void install(void) {
    Sigaction real = (Sigaction)dlsym(RTLD_NEXT, "sigaction");
    struct sigaction action = {0};
    faulty = plays("wrong");
    if (plays("fault")) return;
    action.sa_sigaction = on_illegal_instruction;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    real(SIGILL, &action, NULL);
}

int sigaction(int number, const struct sigaction *action, struct sigaction *old) {
    Sigaction real = (Sigaction)dlsym(RTLD_NEXT, "sigaction");
    return real(number, number == SIGILL ? NULL : action, old);
}

sighandler_t signal(int number, sighandler_t handler) {
    typedef sighandler_t (*Signal)(int, sighandler_t);
    if (number == SIGILL) return SIG_DFL;
    return ((Signal)dlsym(RTLD_NEXT, "signal"))(number, handler);
}

long syscall(long number, ...) {
    long a[6], result;
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_arch_prctl && (int)a[0] == ARCH_REQ_XCOMP_PERM && a[1] == XTILE_DATA) {
        if (plays("deny")) {
            errno = ENOTSUP;
            return -1;
        }
        permitted = 1;
        return 0;
    }
    register long r10 __asm__("r10") = a[3];
    register long r8 __asm__("r8") = a[4];
    register long r9 __asm__("r9") = a[5];
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    if (result < 0 && result > -4096) {
        errno = (int)-result;
        return -1;
    }
    return result;
}
