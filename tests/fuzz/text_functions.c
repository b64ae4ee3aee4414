/*
 * What libFuzzer feeds to the functions of the C export that take text: bytes of any kind, buffers of any size.
 * The text and the buffer are allocated to the byte, so that the address sanitizer sees one read or written beyond.
 */
#include "charrnn_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void require(int holds)
{
    if (!holds) abort();
}

/* Every character that can be read is written back as the same bytes. */
static void read_and_write(const char *text)
{
    while (*text) {
        const char *before = text;
        char bytes[4];
        const int32_t token = charrnn_token(&text);
        if (token < 0) {
            require(text == before && (token == CHARRNN_ERROR_UTF8 || token == CHARRNN_ERROR_CHARACTER));
            return;
        }
        require(token < CHARRNN_VOCAB_SIZE && charrnn_character(token, bytes) == text - before);
        require(memcmp(bytes, before, (size_t)(text - before)) == 0);
    }
}

static void score(const char *text)
{
    charrnn_state state;
    double sum = 0.0;
    const int32_t primed = charrnn_prime(&state, text);
    require(charrnn_log_probability(&state, text, &sum) == primed);
    require(primed < 0 || (isfinite(sum) && sum <= 0.0));
}

static void sample(charrnn_request *request, const char *prefix, int32_t size)
{
    charrnn_state state;
    char *buffer = malloc((size_t)size);
    int32_t length;
    request->prefix = prefix;
    length = charrnn_sample(&state, request, buffer, size);
    require(length < size && memchr(buffer, 0, (size_t)size) != NULL);
    if (length >= 0) {
        require(strlen(buffer) == (size_t)length && strncmp(buffer, prefix, strlen(prefix)) == 0);
        read_and_write(buffer);
    }
    free(buffer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    charrnn_request request = CHARRNN_REQUEST;
    const size_t options = 6;
    char *text;
    if (size < options) return 0;
    request.seed = data[0];
    request.drawing.temperature = data[1] / 64.0;
    request.drawing.top_k = data[2] % 16;
    request.drawing.top_p = data[3] / 240.0; /* above 1 at times */
    request.max_length = data[4] % 64;
    text = malloc(size - options + 1);
    memcpy(text, data + options, size - options);
    text[size - options] = '\0';
    read_and_write(text);
    score(text);
    sample(&request, text, data[5] + 1);
    free(text);
    return 0;
}
