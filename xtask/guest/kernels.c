/* The kernels of `cargo xtask bench`: each runs for half a second and prints the time of one round.
 * One static program, the same file on the host and in guests. `kernels NAME...` runs some; `kernels locked` counts with
 * four threads. The checksums are printed so that nothing is optimised away, and to be the same everywhere. */
#include <emmintrin.h>
#include <immintrin.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static uint32_t seed = 1;
static uint32_t next(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

/* ---- integer */

static uint64_t sieve(void)
{
    static uint8_t composite[65536];
    uint32_t count = 0;
    memset(composite, 0, sizeof composite);
    for (uint32_t i = 2; i < 65536; i++)
        if (!composite[i]) {
            count++;
            for (uint32_t j = i * 2; j < 65536; j += i)
                composite[j] = 1;
        }
    return count;
}

static uint64_t crc(void)
{
    static uint32_t table[256];
    static uint8_t data[65536];
    if (!table[1])
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;
            for (int k = 0; k < 8; k++)
                c = c & 1 ? c >> 1 ^ 0xEDB88320u : c >> 1;
            table[i] = c;
        }
    data[7]++;
    uint32_t c = ~0u;
    for (uint32_t i = 0; i < sizeof data; i++)
        c = table[(c ^ data[i]) & 255] ^ c >> 8;
    return ~c != 0;
}

static void sift(uint32_t *a, uint32_t at, uint32_t n)
{
    uint32_t v = a[at], child;
    while ((child = at * 2 + 1) < n) {
        if (child + 1 < n && a[child + 1] > a[child])
            child++;
        if (a[child] <= v)
            break;
        a[at] = a[child];
        at = child;
    }
    a[at] = v;
}

static uint64_t heapsort(void)
{
    static uint32_t a[8192];
    const uint32_t n = 8192;
    seed = 1;
    for (uint32_t i = 0; i < n; i++)
        a[i] = next();
    for (uint32_t i = n / 2; i-- > 0;)
        sift(a, i, n);
    for (uint32_t i = n - 1; i > 0; i--) {
        uint32_t t = a[0];
        a[0] = a[i];
        a[i] = t;
        sift(a, 0, i);
    }
    return a[n / 2];
}

struct node {
    struct node *next;
    uint64_t value;
};

static uint64_t list(void)
{
    static struct node nodes[8192];
    const uint32_t n = 8192;
    if (!nodes[0].next) {
        static uint32_t order[8192];
        for (uint32_t i = 0; i < n; i++)
            order[i] = i;
        for (uint32_t i = n - 1; i > 0; i--) {
            uint32_t j = next() % (i + 1), t = order[i];
            order[i] = order[j];
            order[j] = t;
        }
        for (uint32_t i = 0; i < n; i++) {
            nodes[order[i]].next = &nodes[order[(i + 1) % n]];
            nodes[order[i]].value = i;
        }
    }
    uint64_t sum = 0;
    const struct node *p = nodes;
    for (uint32_t i = 0; i < 16 * n; i++) {
        sum += p->value;
        p = p->next;
    }
    return sum;
}

static __attribute__((noinline)) uint64_t fib(uint32_t n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static uint64_t recursion(void)
{
    return fib(21);
}

/* ---- floating point and SIMD */

static double ma[64][64], mb[64][64], mc[64][64];

static uint64_t matrix(void)
{
    if (ma[0][0] == 0)
        for (int i = 0; i < 64; i++)
            for (int j = 0; j < 64; j++) {
                ma[i][j] = 1.0 + i * 0.25 - j * 0.125;
                mb[i][j] = 0.5 + j * 0.0625 + i;
            }
    for (int i = 0; i < 64; i++)
        for (int j = 0; j < 64; j++) {
            double sum = 0;
            for (int k = 0; k < 64; k++)
                sum += ma[i][k] * mb[k][j];
            mc[i][j] = sum;
        }
    return (uint64_t)(int64_t)mc[63][17];
}

static uint64_t sse_double(void)
{
    static double data[2048];
    if (data[0] == 0)
        for (int i = 0; i < 2048; i++)
            data[i] = 1.0 + i / 512.0;
    __m128d sum = _mm_setzero_pd();
    const __m128d a = _mm_set1_pd(0.75), b = _mm_set1_pd(1.5), c = _mm_set1_pd(-0.25);
    for (int r = 0; r < 16; r++)
        for (int i = 0; i < 2048; i += 2) {
            __m128d x = _mm_loadu_pd(data + i);
            __m128d y = _mm_add_pd(_mm_mul_pd(_mm_add_pd(_mm_mul_pd(a, x), b), x), c);
            sum = _mm_add_pd(sum, _mm_div_pd(y, _mm_sqrt_pd(x)));
        }
    double out[2];
    _mm_storeu_pd(out, sum);
    return (uint64_t)(out[0] + out[1]);
}

static __attribute__((target("avx2"))) uint64_t avx2_int(void)
{
    static uint32_t data[8192];
    if (!data[1])
        for (uint32_t i = 0; i < 8192; i++)
            data[i] = i * 2654435761u;
    __m256i sum = _mm256_setzero_si256();
    const __m256i k = _mm256_set1_epi32(0x01000193);
    for (int r = 0; r < 16; r++)
        for (int i = 0; i < 8192; i += 8) {
            __m256i x = _mm256_loadu_si256((const __m256i *)(data + i));
            x = _mm256_mullo_epi32(_mm256_xor_si256(x, _mm256_srli_epi32(x, 13)), k);
            x = _mm256_shuffle_epi8(x, _mm256_set1_epi64x(0x0405060700010203));
            sum = _mm256_add_epi32(sum, _mm256_max_epu32(x, sum));
        }
    uint32_t out[8];
    _mm256_storeu_si256((__m256i *)out, sum);
    return out[0] ^ out[5];
}

/* ---- four threads */

enum { THREADS = 4 };
static uint64_t counter, fetched, tried;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t guarded;

static void *count(void *rounds)
{
    for (uint64_t i = 0; i < *(const uint64_t *)rounds; i++) {
        __atomic_add_fetch(&counter, 1, __ATOMIC_SEQ_CST);
        uint64_t was = __atomic_fetch_add(&fetched, 3, __ATOMIC_SEQ_CST);
        uint64_t old = __atomic_load_n(&tried, __ATOMIC_RELAXED);
        while (!__atomic_compare_exchange_n(&tried, &old, old + 1 + (was & 0), 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
            ;
        if (i % 64 == 0) {
            pthread_mutex_lock(&mutex);
            guarded++;
            pthread_mutex_unlock(&mutex);
        }
    }
    return 0;
}

static int locked(void)
{
    for (uint64_t rounds = 20000;; rounds *= 2) {
        pthread_t all[THREADS];
        counter = fetched = tried = guarded = 0;
        double start = now();
        for (int i = 0; i < THREADS; i++)
            if (pthread_create(&all[i], 0, count, &rounds))
                return 1;
        for (int i = 0; i < THREADS; i++)
            pthread_join(all[i], 0);
        double seconds = now() - start;
        uint64_t n = THREADS * rounds;
        if (counter != n || fetched != 3 * n || tried != n || guarded != THREADS * ((rounds + 63) / 64)) {
            printf("KERNEL locked LOST\n");
            return 1;
        }
        if (seconds >= 1.0) {
            printf("KERNEL locked rate=%.4f\n", 3 * n / seconds / 1e6);
            return 0;
        }
    }
}

static const struct {
    const char *name;
    uint64_t (*run)(void);
} kernels[] = {
    {"sieve", sieve},   {"crc", crc},       {"heap-sort", heapsort},    {"list-chase", list}, {"recursion", recursion},
    {"matrix", matrix}, {"sse-double", sse_double}, {"avx2-int", avx2_int},
};

static int wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], name))
            return 1;
    return argc == 1;
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "locked"))
        return locked();
    for (unsigned k = 0; k < sizeof kernels / sizeof *kernels; k++) {
        if (!wanted(kernels[k].name, argc, argv))
            continue;
        if (kernels[k].run == avx2_int && !__builtin_cpu_supports("avx2")) {
            printf("KERNEL %s missing\n", kernels[k].name);
            continue;
        }
        uint64_t sum = kernels[k].run(), wrong = 0; /* warm */
        double best = 1e9, end = now() + 0.5;
        /* Short rounds, so that on a busy machine some are not interrupted; the best counts. */
        for (uint64_t n = 1; best == 1e9 || now() < end;) {
            double start = now();
            for (uint64_t i = 0; i < n; i++)
                wrong += kernels[k].run() != sum;
            double seconds = now() - start;
            if (seconds < 0.002)
                n *= 2;
            else if (seconds / n < best)
                best = seconds / n;
        }
        printf("KERNEL %s us=%.3f sum=%016llx%s\n", kernels[k].name, best * 1e6, (unsigned long long)sum, wrong ? " WRONG" : "");
        fflush(stdout);
    }
    return 0;
}
