/* Integer loop of `cargo xtask bench`: 16 instructions an iteration, written in assembly so that the count is known exactly.
 * A mix as compilers make it: arithmetic, shifts, a load, a store, address arithmetic and a taken branch.
 * Prints the rate of the first run that takes a second or more. */
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

static uint64_t table[1024];

static uint64_t work(uint64_t n)
{
    uint64_t x = 88172645463325252u, sum = 0, i, t;
    __asm__ volatile(
        ".p2align 4\n"
        "1:\n\t"
        "mov %[x], %[t]\n\t"
        "shl $13, %[t]\n\t"
        "xor %[t], %[x]\n\t"
        "mov %[x], %[t]\n\t"
        "shr $7, %[t]\n\t"
        "xor %[t], %[x]\n\t"
        "mov %[x], %[t]\n\t"
        "shl $17, %[t]\n\t"
        "xor %[t], %[x]\n\t"
        "mov %k[x], %k[i]\n\t"
        "and $1023, %k[i]\n\t"
        "add (%[table],%[i],8), %[sum]\n\t"
        "mov %[x], (%[table],%[i],8)\n\t"
        "lea 3(%[sum],%[x]), %[sum]\n\t"
        "dec %[n]\n\t"
        "jnz 1b\n\t"
        : [x] "+r"(x), [sum] "+r"(sum), [n] "+r"(n), [i] "=&r"(i), [t] "=&r"(t)
        : [table] "r"(table)
        : "cc", "memory");
    return sum;
}

int main(int argc, char **argv)
{
    uint64_t n = argc > 1 ? strtoull(argv[1], 0, 10) : 1000000;
    for (;;) {
        double start = now();
        uint64_t sum = work(n);
        double seconds = now() - start;
        if (argc > 1 || seconds >= 1.0) {
            printf("INT-LOOP iterations=%llu instructions=%llu seconds=%.3f Minstr/s=%.1f sum=%016llx\n", (unsigned long long)n,
                   (unsigned long long)n * 16, seconds, n * 16 / seconds / 1e6, (unsigned long long)sum);
            return 0;
        }
        n *= 2;
    }
}
