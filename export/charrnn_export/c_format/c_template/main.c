/*
 * Draw texts from the model, or say how probable some are.
 *
 *     ./sample -n 10 -s 7 -t 0.8 -p Am
 *     ./sample -l Amsterdam
 *     ./sample -v
 */
#include "charrnn_model.h"
#include "charrnn_golden.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: sample [-n NUMBER] [-s SEED] [-t TEMPERATURE] [-k TOP_K] [-c TOP_P] [-m MAX_LENGTH] [-p PREFIX]\n"
    "       sample -l LINE\n"
    "       sample -v\n"
    "  -n  how many texts (10)\n"
    "  -s  the seed: text number i of a seed is the same everywhere (0)\n"
    "  -t  temperature: below 1 safer, above 1 wilder, 0 always the most probable character (1)\n"
    "  -k  only the k most probable characters (all)\n"
    "  -c  only the most probable characters that hold this share of the probability, 0 to 1 (all)\n"
    "  -m  the most characters of a text, prefix included\n"
    "  -p  what every text begins with, in UTF-8\n"
    "  -l  print the natural logarithm of the probability of a line, and its bits per character\n"
    "  -v  repeat what the model said when it was exported, and say whether it says the same here\n";

static const char *message(int32_t error)
{
    switch (error) {
    case CHARRNN_ERROR_UTF8: return "the text is not UTF-8";
    case CHARRNN_ERROR_CHARACTER: return "the text holds a character that the model has never seen";
    case CHARRNN_ERROR_BUFFER: return "the text does not fit the buffer";
    case CHARRNN_ERROR_OPTION: return "an option has no meaning: expected temperature 0 or more, top_k 1 or more, "
                                      "top_p above 0 and up to 1, max_length 1 or more";
    case CHARRNN_ERROR_PREFIX: return "the prefix leaves nothing to draw: expected one line, shorter than max_length";
    default: return "the model gave a number that is not finite";
    }
}

static int fail(const char *what)
{
    fprintf(stderr, "sample: %s\n", what);
    return 2;
}

/* Read a whole number from least to most; returns 0 if it is none. */
static int whole_number(const char *text, uint64_t least, uint64_t most, uint64_t *value)
{
    char *end;
    unsigned long long parsed;
    if (*text < '0' || *text > '9') return 0;
    errno = 0;
    parsed = strtoull(text, &end, 10);
    *value = parsed;
    return !errno && *end == '\0' && parsed >= least && parsed <= most;
}

static int real_number(const char *text, double *value)
{
    char *end;
    *value = strtod(text, &end);
    return end != text && *end == '\0';
}

static int score(const char *line)
{
    charrnn_state state;
    double sum;
    const int32_t count = charrnn_log_probability(&state, line, &sum);
    if (count < 0) return fail(message(count));
    printf("%.6f nats  %.4f bits per character\n", sum, -sum / (0.69314718055994531 * (count + 1)));
    return 0;
}

static int sample(charrnn_request *request, uint64_t number)
{
    const int32_t size = request->max_length * CHARRNN_CHARACTER_BYTES + 1;
    char *buffer = malloc((size_t)size);
    charrnn_state state;
    int32_t length = 0;
    if (!buffer) return fail("there is no memory for a text of this length");
    for (; request->index < number && length >= 0; request->index++) {
        length = charrnn_sample(&state, request, buffer, size);
        if (length >= 0 && puts(buffer) < 0) break;
    }
    free(buffer);
    return length < 0 ? fail(message(length)) : 0;
}

/* Repeat one line of the transcript and set `same` if this machine says it too.
 * Returns 0 if it must and does not, or if this machine finds the line more or less probable. */
static int repeats(const char *line, const charrnn_request *request, const double *log_probability, int *same)
{
    static char buffer[GOLDEN_MAX_LENGTH * CHARRNN_CHARACTER_BYTES + 1];
    charrnn_state state;
    double sum = 0.0;
    int32_t count;
    *same = charrnn_sample(&state, request, buffer, sizeof buffer) >= 0 && strcmp(buffer, line) == 0;
    if (!*same && GOLDEN_SAME_TEXT) {
        fprintf(stderr, "sample: the transcript says \"%s\", this machine \"%s\"\n", line, buffer);
        return 0;
    }
    count = charrnn_log_probability(&state, line, &sum);
    if (count < 0) {
        fail(message(count));
        return 0;
    }
    if (log_probability && !(fabs(sum - *log_probability) <= GOLDEN_TOLERANCE * (count + 1))) {
        fprintf(stderr, "sample: \"%s\" has %.6f nats in the transcript, here %.6f\n", line, *log_probability, sum);
        return 0;
    }
    return 1;
}

static int verify(void)
{
    charrnn_request request = CHARRNN_REQUEST;
    int agree, same, repeated;
    if (!GOLDEN_SAMPLES) return fail("this model carries no transcript: `charrnn export` adds one");
    request.seed = GOLDEN_SEED;
    request.max_length = GOLDEN_MAX_LENGTH;
    request.drawing.temperature = 0.0;
    agree = repeats(golden_lines[0], &request, NULL, &repeated);
    request.drawing.temperature = 1.0;
    for (int i = 0; agree && i < GOLDEN_SAMPLES; i++, request.index++) {
        agree = repeats(golden_lines[i + 1], &request, &golden_log_probabilities[i], &same);
        repeated += same;
    }
    if (!agree) return 1;
    printf("verified: %d ", repeated);
    if (repeated <= GOLDEN_SAMPLES) printf("of %d ", GOLDEN_SAMPLES + 1);
    return puts("lines are what the model said when it was exported") < 0;
}

/* Take one option and its value; returns 0 if they have no meaning. */
static int take(charrnn_request *request, uint64_t *number, char option, const char *value)
{
    uint64_t whole = 0;
    int good;
    switch (option) {
    case 'n': return whole_number(value, 1, UINT64_MAX, number);
    case 's': return whole_number(value, 0, UINT64_MAX, &request->seed);
    case 't': return real_number(value, &request->drawing.temperature);
    case 'c': return real_number(value, &request->drawing.top_p) && request->drawing.top_p > 0;
    case 'p': request->prefix = value; return 1;
    case 'k':
        good = whole_number(value, 1, INT32_MAX, &whole);
        request->drawing.top_k = (int32_t)whole;
        return good;
    case 'm':
        good = whole_number(value, 1, (INT32_MAX - 1) / CHARRNN_CHARACTER_BYTES, &whole);
        request->max_length = (int32_t)whole;
        return good;
    default: return 0;
    }
}

int main(int count, char **words)
{
    charrnn_request request = CHARRNN_REQUEST;
    uint64_t number = 10;
    if (count == 2 && strcmp(words[1], "-h") == 0) return puts(usage) < 0;
    if (count == 2 && strcmp(words[1], "-v") == 0) return verify();
    if (count == 3 && strcmp(words[1], "-l") == 0) return score(words[2]);
    for (int i = 1; i < count; i += 2)
        if (words[i][0] != '-' || strlen(words[i]) != 2 || i + 1 == count ||
            !take(&request, &number, words[i][1], words[i + 1]))
            return fail(usage);
    return sample(&request, number);
}
