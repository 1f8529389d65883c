/* Floating-point loop of `cargo xtask bench`: 12 instructions an iteration, 9 of them SSE2 scalar and packed double arithmetic or
 * moves, written in assembly so that the count is known exactly. Prints the rate of the first run that takes a second or more. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double data[2048] __attribute__((aligned(16)));

static double work(uint64_t n)
{
    static const double k[4] __attribute__((aligned(16))) = {0.999999, 0.999998, 0.5, 0.25};
    double out[2] __attribute__((aligned(16)));
    uint64_t i = 0;
    __asm__ volatile(
        "movapd 0(%[k]), %%xmm1\n\t"
        "movapd 16(%[k]), %%xmm2\n\t"
        "movapd %%xmm1, %%xmm0\n\t"
        "movapd %%xmm2, %%xmm3\n\t"
        ".p2align 4\n"
        "1:\n\t"
        "movapd (%[data],%[i],8), %%xmm4\n\t"
        "mulpd %%xmm1, %%xmm0\n\t"
        "addpd %%xmm2, %%xmm0\n\t"
        "mulpd %%xmm2, %%xmm4\n\t"
        "addpd %%xmm0, %%xmm4\n\t"
        "mulsd %%xmm1, %%xmm3\n\t"
        "addsd %%xmm2, %%xmm3\n\t"
        "subpd %%xmm3, %%xmm4\n\t"
        "movapd %%xmm4, (%[data],%[i],8)\n\t"
        "xor $2, %[i]\n\t"
        "dec %[n]\n\t"
        "jnz 1b\n\t"
        "addpd %%xmm4, %%xmm0\n\t"
        "movapd %%xmm0, %[out]\n\t"
        : [n] "+r"(n), [i] "+r"(i), [out] "=m"(out)
        : [data] "r"(data), [k] "r"(k)
        : "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4");
    return out[0] + out[1];
}

int main(int argc, char **argv)
{
    uint64_t n = argc > 1 ? strtoull(argv[1], 0, 10) : 200000;
    for (;;) {
        double start = now();
        double sum = work(n);
        double seconds = now() - start;
        if (argc > 1 || seconds >= 1.0) {
            printf("FP-LOOP iterations=%llu instructions=%llu seconds=%.3f Minstr/s=%.1f sum=%.12g\n", (unsigned long long)n,
                   (unsigned long long)n * 12, seconds, n * 12 / seconds / 1e6, sum);
            return 0;
        }
        n *= 2;
    }
}
