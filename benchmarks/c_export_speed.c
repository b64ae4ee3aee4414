/* Sample NUMBER texts and print the nanoseconds a character, and the nanoseconds a kilobyte of reading memory. */
#define _POSIX_C_SOURCE 199309L
#include "charrnn_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MEMORY ((size_t)64 << 20) /* far above any cache */

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static double sampling(void)
{
    charrnn_request request = CHARRNN_REQUEST;
    charrnn_state state;
    char line[CHARRNN_LINE_BYTES];
    double characters = 0.0, start;
    request.seed = 7;
    start = seconds();
    for (; request.index < NUMBER; request.index++) {
        if (charrnn_sample(&state, &request, line, sizeof line) < 0) exit(1);
        for (const char *byte = line; *byte; byte++) characters += (*byte & 0xc0) != 0x80;
        characters += 1.0;
    }
    return (seconds() - start) / characters;
}

static double reading(void)
{
    uint64_t *memory = malloc(MEMORY), sum = 0;
    volatile uint64_t kept;
    double start;
    if (!memory) exit(1);
    for (size_t i = 0; i < MEMORY / 8; i++) memory[i] = i;
    start = seconds();
    for (size_t i = 0; i < MEMORY / 8; i++) sum += memory[i];
    start = seconds() - start;
    kept = sum;
    (void)kept;
    free(memory);
    return start / (double)MEMORY;
}

int main(void)
{
    const double character = sampling(), byte = reading();
    printf("%.3f %.3f\n", character * 1e9, byte * 1024e9);
    return 0;
}
