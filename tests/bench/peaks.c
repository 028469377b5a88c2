/* What this machine can do at most: multiplications by instruction set, and memory read, on one thread and on all.
 *
 * peaks THREADS prints JSON: for each kind a pair {"one": ..., "all": ...} of billions of operations (a multiplication
 * and an addition are two) or of bytes a second, or null for what the class of CPU that this was compiled for lacks.
 * Each figure is the best of REPEATS measurements of SECONDS, so that a neighbour's moment of work is left out.
 */

#define _GNU_SOURCE
#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { REPEATS = 5, SUMS = 12, ROUNDS = 20000 };
static const double SECONDS = 0.3;
static const size_t BUFFER_BYTES = (size_t)512 << 20;
static const size_t LEAST_BYTES_A_THREAD = (size_t)32 << 20; /* few CPUs have as much cache for a core */

#if defined(__AVX512F__)
typedef __m512 floats;
typedef __m512i ints;
#define SET_FLOATS _mm512_set1_ps
#define SET_INTS _mm512_set1_epi8
#define ADD_INTS _mm512_add_epi64
#define LOAD_INTS _mm512_load_si512
#else
typedef __m256 floats;
typedef __m256i ints;
#define SET_FLOATS _mm256_set1_ps
#define SET_INTS _mm256_set1_epi8
#define ADD_INTS _mm256_add_epi64
#define LOAD_INTS _mm256_load_si256
#endif

/* The compiler must believe that somebody reads this vector, else it drops the loop that made it. */
#define USE(vector) __asm__ volatile("" : : "x"(vector))
/* The same of what is in memory. */
#define USE_MEMORY(pointer) __asm__ volatile("" : : "r"(pointer) : "memory")

/* ROUNDS times sum += left * right on each of the sums, none of which waits for another: 12 hide a latency of 6 cycles
 * at two a cycle, and fit the 16 registers of AVX2. The instruction is written out because gcc 12 joins sums that are
 * alike, and surrounds what _mm512_dpbusd_epi32 gives with two moves. */
#define REPEAT(instruction, type, left, right)                                                                         \
    do {                                                                                                               \
        type sums[SUMS];                                                                                               \
        _Pragma("GCC unroll 12") for (int i = 0; i < SUMS; i++) sums[i] = (type){0};                                   \
        for (int round = 0; round < ROUNDS; round++) {                                                                 \
            _Pragma("GCC unroll 12") for (int i = 0; i < SUMS; i++)                                                    \
                __asm__ volatile(instruction " %2, %1, %0" : "+x"(sums[i]) : "x"(left), "x"(right));                   \
        }                                                                                                              \
    } while (0)

struct thread;

/* One block of work, of a millisecond or so. Returns how many operations or bytes it was. */
typedef double block(struct thread *self);

struct thread {
    pthread_t id;
    pthread_barrier_t *together;
    void (*prepare)(struct thread *self);
    block *work;
    char *memory; /* its own part of the buffer, for reading alone */
    size_t bytes, at;
    double started[REPEATS], ended[REPEATS], done[REPEATS];
};

static double f32(struct thread *self)
{
    (void)self;
    floats left = SET_FLOATS(1.25f), right = SET_FLOATS(0.75f);
    REPEAT("vfmadd231ps", floats, left, right);
    return (double)ROUNDS * SUMS * (sizeof(floats) / sizeof(float)) * 2;
}

#if defined(__AVX512BF16__)
static double bf16(struct thread *self)
{
    (void)self;
    __m512bh left = _mm512_cvtne2ps_pbh(_mm512_set1_ps(1.25f), _mm512_set1_ps(0.5f));
    __m512bh right = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.75f), _mm512_set1_ps(1.5f));
    REPEAT("vdpbf16ps", floats, left, right);
    return (double)ROUNDS * SUMS * 32 * 2;
}
#endif

#if defined(__AVX512VNNI__)
static double int8(struct thread *self)
{
    (void)self;
    ints left = SET_INTS(3), right = SET_INTS(-5);
    REPEAT("vpdpbusd", ints, left, right);
    return (double)ROUNDS * SUMS * 64 * 2;
}
#endif

#if defined(__AMX_TILE__)
/* Eight tiles of 16 rows of 64 bytes: four sums, enough for a latency of 52 cycles at one step in 16, and two operands
 * on each side. */
static void prepare_tiles(struct thread *self)
{
    (void)self;
    struct {
        uint8_t palette, first_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } configuration;
    static const uint8_t operands[1024] = {[0 ... 1023] = 0x3f}; /* as bf16 0.75, as int8 63 */
    memset(&configuration, 0, sizeof configuration);
    configuration.palette = 1;
    for (int i = 0; i < 8; i++) {
        configuration.row_bytes[i] = 64;
        configuration.rows[i] = 16;
    }
    /* gcc 12 declares 8 of the 64 bytes as read and would drop the stores to the others. */
    USE_MEMORY(&configuration);
    _tile_loadconfig(&configuration);
    USE_MEMORY(operands);
    _tile_loadd(4, operands, 64);
    _tile_loadd(5, operands, 64);
    _tile_loadd(6, operands, 64);
    _tile_loadd(7, operands, 64);
}

static double tiles(struct thread *self, int of_floats)
{
    static __thread char sums[4][1024];
    (void)self;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    if (of_floats) {
        for (int round = 0; round < ROUNDS / 10; round++) {
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    } else {
        for (int round = 0; round < ROUNDS / 10; round++) {
            _tile_dpbssd(0, 4, 6);
            _tile_dpbssd(1, 4, 7);
            _tile_dpbssd(2, 5, 6);
            _tile_dpbssd(3, 5, 7);
        }
    }
    _tile_stored(0, sums[0], 64);
    _tile_stored(1, sums[1], 64);
    _tile_stored(2, sums[2], 64);
    _tile_stored(3, sums[3], 64);
    USE_MEMORY(sums);
    return (double)(ROUNDS / 10) * 4 * 16 * 16 * (of_floats ? 32 : 64) * 2;
}

static double amx_bf16(struct thread *self) { return tiles(self, 1); }
static double amx_int8(struct thread *self) { return tiles(self, 0); }

/* Linux gives the tiles, whose state is 8 KiB a thread, to processes that ask for them. */
static int may_use_tiles(void)
{
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#endif

/* The thread that reads a page touches it first: on machines with several memories it then lies in the nearest. */
static void prepare_memory(struct thread *self) { memset(self->memory, 1, self->bytes); }

static double memory(struct thread *self)
{
    enum { BLOCK = 4 << 20 };
    const char *from = self->memory + self->at;
    ints sums[8];
    _Pragma("GCC unroll 8") for (int i = 0; i < 8; i++) sums[i] = SET_INTS(0);
    for (size_t at = 0; at < BLOCK; at += sizeof sums) {
        _Pragma("GCC unroll 8") for (int i = 0; i < 8; i++)
            sums[i] = ADD_INTS(sums[i], LOAD_INTS((const void *)(from + at + (size_t)i * sizeof(ints))));
    }
    _Pragma("GCC unroll 8") for (int i = 0; i < 8; i++) USE(sums[i]);
    self->at = (self->at + BLOCK) % self->bytes;
    return BLOCK;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void *run(void *argument)
{
    struct thread *self = argument;
    if (self->prepare)
        self->prepare(self);
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        pthread_barrier_wait(self->together);
        self->started[repeat] = now();
        do {
            self->done[repeat] += self->work(self);
            self->ended[repeat] = now();
        } while (self->ended[repeat] - self->started[repeat] < SECONDS);
    }
    return NULL;
}

static void require(int holds, const char *what)
{
    if (!holds) {
        perror(what);
        exit(1);
    }
}

/* Where there is a thread for each CPU, each gets its own: else two were seen to share one for seconds. */
static void give_a_cpu(struct thread *self, int number, int n_threads)
{
    cpu_set_t allowed, own;
    CPU_ZERO(&own);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) != n_threads)
        return;
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed) && number-- == 0)
            CPU_SET(cpu, &own);
    }
    pthread_setaffinity_np(self->id, sizeof own, &own);
}

/* Billions a second of all threads together: from the start of the first to the end of the last. */
static double best(int n_threads, block *work, void (*prepare)(struct thread *self), char *buffer, size_t bytes)
{
    pthread_barrier_t together;
    struct thread *threads = calloc((size_t)n_threads, sizeof *threads);
    double highest = 0;
    require(threads != NULL, "threads");
    pthread_barrier_init(&together, NULL, (unsigned)n_threads);
    for (int i = 0; i < n_threads; i++) {
        size_t part = bytes / (size_t)n_threads / LEAST_BYTES_A_THREAD * LEAST_BYTES_A_THREAD;
        threads[i] = (struct thread){.together = &together, .prepare = prepare, .work = work};
        threads[i].memory = buffer ? buffer + (size_t)i * part : NULL;
        threads[i].bytes = part;
        require(pthread_create(&threads[i].id, NULL, run, &threads[i]) == 0, "thread");
        give_a_cpu(&threads[i], i, n_threads);
    }
    for (int i = 0; i < n_threads; i++)
        pthread_join(threads[i].id, NULL);
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        double first = threads[0].started[repeat], last = threads[0].ended[repeat], done = 0;
        for (int i = 0; i < n_threads; i++) {
            first = threads[i].started[repeat] < first ? threads[i].started[repeat] : first;
            last = threads[i].ended[repeat] > last ? threads[i].ended[repeat] : last;
            done += threads[i].done[repeat];
        }
        double rate = done / (last - first) / 1e9;
        highest = rate > highest ? rate : highest;
    }
    pthread_barrier_destroy(&together);
    free(threads);
    return highest;
}

static void show(const char *name, int n_threads, block *work, void (*prepare)(struct thread *self))
{
    double one = best(1, work, prepare, NULL, 0);
    printf("\"%s\": {\"one\": %.2f, \"all\": %.2f}, ", name, one, best(n_threads, work, prepare, NULL, 0));
}

static void show_memory(int n_threads)
{
    size_t wanted = LEAST_BYTES_A_THREAD * (size_t)n_threads;
    size_t bytes = wanted > BUFFER_BYTES ? wanted : BUFFER_BYTES;
    char *buffer = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer == MAP_FAILED) {
        printf("\"memory\": null");
        return;
    }
    madvise(buffer, bytes, MADV_HUGEPAGE); /* only a wish: the figure is to be the memory's, not the page tables' */
    double one = best(1, memory, prepare_memory, buffer, bytes);
    printf("\"memory\": {\"one\": %.2f, \"all\": %.2f}", one, best(n_threads, memory, prepare_memory, buffer, bytes));
}

int main(int count, char **arguments)
{
    int n_threads = count == 2 ? atoi(arguments[1]) : 0;
    if (n_threads < 1) {
        fprintf(stderr, "peaks THREADS\n");
        return 2;
    }
    printf("{");
    show("f32", n_threads, f32, NULL);
#if defined(__AVX512BF16__)
    show("bf16", n_threads, bf16, NULL);
#else
    printf("\"bf16\": null, ");
#endif
#if defined(__AVX512VNNI__)
    show("int8", n_threads, int8, NULL);
#else
    printf("\"int8\": null, ");
#endif
#if defined(__AMX_TILE__)
    if (may_use_tiles()) {
        show("amx_bf16", n_threads, amx_bf16, prepare_tiles);
        show("amx_int8", n_threads, amx_int8, prepare_tiles);
    } else
        printf("\"amx_bf16\": null, \"amx_int8\": null, ");
#else
    printf("\"amx_bf16\": null, \"amx_int8\": null, ");
#endif
    show_memory(n_threads);
    printf("}\n");
    return 0;
}
