// PREFETCH(p): the cache line at p will be read soon. Included by CPU kernels; defines no kernel.
#ifndef PREFETCH_CL
#define PREFETCH_CL

#if defined(PREFETCHES) && PREFETCHES // OpenCL's own prefetch() is empty on the CPU runtimes there are
#define PREFETCH(p) __builtin_prefetch((const void *)(ulong)(p))
#else
#define PREFETCH(p)
#endif

#endif
