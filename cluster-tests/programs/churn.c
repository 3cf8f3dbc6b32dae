/* Changes its mappings and their content in every way that a copy made while it runs could miss, and compares all of
 * it with what it must be.
 *
 * usage: churn [SECONDS]
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { AREAS = 24, PAGES = 96, PAGE = 4096, WORDS = PAGE / 8 };

/* What a page must hold: 0 is what a fresh mapping has there, anything else a seed. */
struct area {
    uint64_t *at;
    int is_file, protection;
    uint32_t seeds[PAGES];
};

static struct area areas[AREAS];
static uint64_t file_words[PAGES * WORDS];
static int file;
static uint64_t state = 88172645463325252ull;

static uint32_t chance(uint32_t below) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state >> 16) % below;
}

static uint64_t word(uint32_t seed, uint32_t index) {
    return (seed * 0x9e3779b97f4a7c15ull) ^ (index * 0xc2b2ae3d27d4eb4full);
}

static void fail(const char *what, int number, uint32_t page) {
    printf("wrong: %s, area %d, page %u\n", what, number, page);
    exit(1);
}

static void map(struct area *area, void *wanted) {
    int flags = MAP_PRIVATE | (area->is_file ? 0 : MAP_ANONYMOUS) | (wanted ? MAP_FIXED : 0);
    area->at = mmap(wanted, PAGES * PAGE, PROT_READ | PROT_WRITE, flags, area->is_file ? file : -1, 0);
    if (area->at == MAP_FAILED) fail("mmap", 0, 0);
    area->protection = PROT_READ | PROT_WRITE;
    memset(area->seeds, 0, sizeof area->seeds);
}

static void protect(struct area *area, int protection) {
    if (mprotect(area->at, PAGES * PAGE, protection)) fail("mprotect", 0, 0);
    area->protection = protection;
}

static void check(int number) {
    struct area *area = &areas[number];
    if (area->protection == PROT_NONE) protect(area, PROT_READ);
    for (uint32_t page = 0; page < PAGES; page++)
        for (uint32_t i = 0; i < WORDS; i++) {
            uint32_t seed = area->seeds[page];
            uint64_t fresh = area->is_file ? file_words[page * WORDS + i] : 0;
            if (area->at[page * WORDS + i] != (seed ? word(seed, i) : fresh)) fail("content", number, page);
        }
}

static void fill(struct area *area, uint32_t from, uint32_t count) {
    if (area->protection != (PROT_READ | PROT_WRITE)) protect(area, PROT_READ | PROT_WRITE);
    for (uint32_t page = from; page < from + count && page < PAGES; page++) {
        area->seeds[page] = (uint32_t)state | 1;
        chance(2);
        for (uint32_t i = 0; i < WORDS; i++) area->at[page * WORDS + i] = word(area->seeds[page], i);
    }
}

static void forget(struct area *area, uint32_t from, uint32_t count) {
    if (from + count > PAGES) count = PAGES - from;
    if (madvise(area->at + from * WORDS, (size_t)count * PAGE, MADV_DONTNEED)) fail("madvise", 0, from);
    memset(area->seeds + from, 0, count * sizeof *area->seeds);
}

static void step(void) {
    int number = (int)chance(AREAS);
    struct area *area = &areas[number];
    uint32_t from = chance(PAGES), count = 1 + chance(24);
    switch (chance(9)) {
    case 0: case 1: case 2: fill(area, from, count); break;
    case 3: forget(area, from, count); break;
    case 4: map(area, area->at); break;
    case 5: munmap(area->at, PAGES * PAGE); map(area, NULL); break;
    case 6:
        if (!area->is_file) {
            void *elsewhere = mmap(NULL, PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            area->at = mremap(area->at, PAGES * PAGE, PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, elsewhere);
            if (area->at == MAP_FAILED) fail("mremap", number, 0);
        }
        break;
    case 7: protect(area, chance(2) ? PROT_NONE : PROT_READ); break;
    default: check(number);
    }
}

/* A child sees what its parent had, and goes on by itself. */
static void fork_and_check(void) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 40; i++) step();
        for (int i = 0; i < AREAS; i++) check(i);
        _exit(0);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) fail("child", 0, 0);
}

int main(int count, char **arguments) {
    char name[] = "/tmp/churn-XXXXXX";
    int seconds = count > 1 ? atoi(arguments[1]) : 1;
    file = mkstemp(name);
    unlink(name);
    for (uint32_t i = 0; i < PAGES * WORDS; i++) file_words[i] = word(7, i);
    if (write(file, file_words, sizeof file_words) != (ssize_t)sizeof file_words) return 2;
    for (int i = 0; i < AREAS; i++) areas[i].is_file = i % 3 == 0, map(&areas[i], NULL);
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        for (int i = 0; i < 400; i++) step();
        fork_and_check();
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - start.tv_sec < seconds);
    for (int i = 0; i < AREAS; i++) check(i);
    puts("every byte is right");
    return 0;
}
