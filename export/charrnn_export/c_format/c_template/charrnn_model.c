/*
 * The model of charrnn_model.h. This file is the same for every model; sizes come from charrnn_model.h, numbers from
 * charrnn_weights.h.
 *
 * All products go by blocks of BLOCK outputs: 4 gates of BLOCK / 4 units, or BLOCK logits. Inside a block there is no
 * branch and every loop has a length that is known, so that a compiler makes vector instructions of them.
 */
#include "charrnn_model.h"

#include <math.h>

#if CHARRNN_INT8
typedef int8_t weight;
/* h and the text below it are in (-1, 1): as 16-bit numbers they lose less than the weights do, and sums are exact. */
typedef int16_t input;
#else
typedef float weight;
typedef float input;
#endif

/* A layer, or the projection: every output is a weighted sum of the inputs, plus a bias. */
typedef struct {
    int32_t outputs;       /* units of the layer, or CHARRNN_VOCAB_SIZE */
    int32_t inputs;        /* units of the layer below, and then those of the layer itself */
    int32_t row;           /* fp32: BLOCK; int8: inputs, rounded up to a multiple of INPUT_GROUP */
    const weight *weights; /* fp32: [blocks][inputs][BLOCK]; int8: [blocks][BLOCK][row] */
    const float *scales;   /* int8: [blocks][BLOCK], what a sum is multiplied by */
    const float *bias;     /* [blocks][BLOCK]; not of the lowest layer, whose input table holds it */
} linear;

#include "charrnn_weights.h"

/* Drawing needs numbers of 64 bits to agree with other machines; some 8-bit compilers have none. */
typedef char a_double_has_64_bits[sizeof(double) == 8 ? 1 : -1];

#define UNITS_PER_BLOCK (BLOCK / 4)
#define TEN 0x41200000u /* the bits of 10.0f */

/* Text and tokens */

/* The bytes of a character that begins so, or 0 where none can. */
static int32_t utf8_length(unsigned char first)
{
    if (first < 0x80) return 1;
    if (first >= 0xc2 && first <= 0xdf) return 2;
    if (first >= 0xe0 && first <= 0xef) return 3;
    if (first >= 0xf0 && first <= 0xf4) return 4;
    return 0;
}

/* Read a character of `length` bytes; returns a number above any code point if it is none. */
static uint32_t code_point(const char *text, int32_t length)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t value = (unsigned char)text[0];
    if (length > 1) value &= 0x7fu >> length;
    for (int32_t i = 1; i < length; i++) {
        const uint32_t next = (unsigned char)text[i];
        if ((next & 0xc0u) != 0x80u) return UINT32_MAX; /* a zero byte ends the loop here as well */
        value = (value << 6) | (next & 0x3fu);
    }
    if (value < least[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) return UINT32_MAX;
    return value;
}

int32_t charrnn_token(const char **text)
{
    const int32_t length = utf8_length((unsigned char)**text);
    const uint32_t wanted = length ? code_point(*text, length) : UINT32_MAX;
    int32_t low = 1, high = CHARRNN_VOCAB_SIZE; /* all but the newline are sorted */
    if (wanted == UINT32_MAX) return CHARRNN_ERROR_UTF8;
    while (low < high) {
        const int32_t middle = low + (high - low) / 2;
        if (code_points[middle] < wanted) low = middle + 1;
        else high = middle;
    }
    if (wanted == code_points[CHARRNN_BOUNDARY]) low = CHARRNN_BOUNDARY;
    else if (low == CHARRNN_VOCAB_SIZE || code_points[low] != wanted) return CHARRNN_ERROR_CHARACTER;
    *text += length;
    return low;
}

int32_t charrnn_character(int32_t token, char *bytes)
{
    uint32_t value;
    int32_t length;
    if (token < 0 || token >= CHARRNN_VOCAB_SIZE) return CHARRNN_ERROR_TOKEN;
    value = code_points[token];
    if (value < 0x80) {
        bytes[0] = (char)value;
        return 1;
    }
    length = value < 0x800 ? 2 : value < 0x10000 ? 3 : 4;
    for (int32_t i = length - 1; i > 0; i--) {
        bytes[i] = (char)(unsigned char)(0x80u | (value & 0x3fu));
        value >>= 6;
    }
    bytes[0] = (char)(unsigned char)((0xf00u >> length & 0xffu) | value);
    return length;
}

/* The step */

#if CHARRNN_INT8

static void load_inputs(const float *values, int32_t count, input *inputs)
{
    for (int32_t i = 0; i < count; i++) {
        float value = values[i] * ACTIVATION_STEPS;
        value = value < ACTIVATION_STEPS ? value : ACTIVATION_STEPS;
        value = value > -ACTIVATION_STEPS ? value : -ACTIVATION_STEPS;
        inputs[i] = (input)(int32_t)(value + (value < 0.0f ? -0.5f : 0.5f));
    }
}

/* Add the products of one block. A sum cannot overflow: ACTIVATION_STEPS is chosen for the number of inputs. */
static void add_products(const linear *map, int32_t block, const input *inputs, float *outputs)
{
    const weight *row = map->weights + block * BLOCK * map->row;
    const float *scales = map->scales + block * BLOCK;
    for (int32_t k = 0; k < BLOCK; k++, row += map->row) {
        int32_t sum = 0;
        for (int32_t i = 0; i < map->row; i += INPUT_GROUP)
            for (int32_t j = i; j < i + INPUT_GROUP; j++) sum += row[j] * inputs[j];
        outputs[k] += scales[k] * (float)sum;
    }
}

static void begin_gates(int32_t token, int32_t block, float *gates)
{
    const weight *row = input_table + token * INPUT_ROW + block * BLOCK;
    for (int32_t k = 0; k < BLOCK; k++) gates[k] = input_scales[token] * (float)row[k];
}

#else

static void load_inputs(const float *values, int32_t count, input *inputs)
{
    for (int32_t i = 0; i < count; i++) inputs[i] = values[i];
}

static void add_products(const linear *map, int32_t block, const input *inputs, float *outputs)
{
    const weight *row = map->weights + block * BLOCK * map->inputs;
    float sums[BLOCK]; /* of its own, so that they can stay in registers */
    for (int32_t k = 0; k < BLOCK; k++) sums[k] = outputs[k];
    for (int32_t i = 0; i < map->inputs; i++, row += BLOCK)
        for (int32_t k = 0; k < BLOCK; k++) sums[k] += inputs[i] * row[k];
    for (int32_t k = 0; k < BLOCK; k++) outputs[k] = sums[k];
}

static void begin_gates(int32_t token, int32_t block, float *gates)
{
    const weight *row = input_table + token * INPUT_ROW + block * BLOCK;
    for (int32_t k = 0; k < BLOCK; k++) gates[k] = row[k];
}

#endif

/* tanh x within 1.8e-7: (1 - e) / (1 + e), where e = exp(-2 |x|) = 2^-n exp(r), r at most log(2) / 2 away from 0, where a
 * polynomial of degree 6 (Chebyshev interpolation) is within 3e-8 of exp. Beyond 10 it is 1 to the last digit. There is
 * no comparison of floats in it: compilers make branches of those. */
static float hyperbolic_tangent(float x)
{
    union { uint32_t bits; float value; } magnitude, power, result;
    uint32_t sign;
    magnitude.value = x;
    sign = magnitude.bits & 0x80000000u;
    magnitude.bits &= 0x7fffffffu;
    magnitude.bits = magnitude.bits < TEN ? magnitude.bits : TEN; /* positive floats have the order of their bits */
    const int32_t n = (int32_t)(magnitude.value * 2.88539008f + 0.5f);
    const float r = ((float)n * 0.693359375f - 2.0f * magnitude.value) - (float)n * 2.12194440e-4f;
    const float upper = 0.166664153f + r * (0.0416663513f + r * (0.00837513432f + r * 0.0013941119f));
    power.bits = (uint32_t)(127 - n) << 23;
    const float e = power.value * (1.0f + r * (1.0f + r * (0.5f + r * upper)));
    result.value = (1.0f - e) / (1.0f + e);
    result.bits |= sign;
    return result.value;
}

static float sigmoid(float x)
{
    return 0.5f + 0.5f * hyperbolic_tangent(0.5f * x);
}

/* Take the gates of one block (input, forget, cell, output) and change h and c of its units. */
static void update_cells(const float *gates, int32_t count, float *h, float *c)
{
    float new_h[UNITS_PER_BLOCK], new_c[UNITS_PER_BLOCK] = {0};
    for (int32_t k = 0; k < count; k++) new_c[k] = c[k];
    for (int32_t k = 0; k < UNITS_PER_BLOCK; k++) {
        const float kept = sigmoid(gates[UNITS_PER_BLOCK + k]) * new_c[k];
        new_c[k] = kept + sigmoid(gates[k]) * hyperbolic_tangent(gates[2 * UNITS_PER_BLOCK + k]);
        new_h[k] = sigmoid(gates[3 * UNITS_PER_BLOCK + k]) * hyperbolic_tangent(new_c[k]);
    }
    for (int32_t k = 0; k < count; k++) {
        h[k] = new_h[k];
        c[k] = new_c[k];
    }
}

static int32_t at_most(int32_t value, int32_t limit)
{
    return value < limit ? value : limit;
}

void charrnn_init(charrnn_state *state)
{
    for (int32_t i = 0; i < CHARRNN_TOTAL_UNITS; i++) state->h[i] = state->c[i] = 0.0f;
}

int32_t charrnn_step(charrnn_state *state, int32_t token)
{
    input inputs[MOST_INPUTS] = {0};
    float *h = state->h, *c = state->c;
    if (token < 0 || token >= CHARRNN_VOCAB_SIZE) return CHARRNN_ERROR_TOKEN;
    for (int32_t l = 0; l < CHARRNN_NUM_LAYERS; l++) {
        const linear *layer = &layers[l];
        const int32_t below = layer->inputs - layer->outputs;
        load_inputs(h - below, layer->inputs, inputs); /* h of the layer below stands before this layer's own */
        for (int32_t unit = 0, block = 0; unit < layer->outputs; unit += UNITS_PER_BLOCK, block++) {
            float gates[BLOCK];
            if (l == 0) begin_gates(token, block, gates);
            else for (int32_t k = 0; k < BLOCK; k++) gates[k] = layer->bias[block * BLOCK + k];
            add_products(layer, block, inputs, gates);
            update_cells(gates, at_most(UNITS_PER_BLOCK, layer->outputs - unit), h + unit, c + unit);
        }
        h += layer->outputs;
        c += layer->outputs;
    }
    return 0;
}

void charrnn_logits(const charrnn_state *state, float *logits)
{
    input inputs[MOST_INPUTS] = {0};
    load_inputs(state->h + CHARRNN_TOTAL_UNITS - projection.inputs, projection.inputs, inputs);
    for (int32_t first = 0, block = 0; first < CHARRNN_VOCAB_SIZE; first += BLOCK, block++) {
        float outputs[BLOCK];
        for (int32_t k = 0; k < BLOCK; k++) outputs[k] = projection.bias[block * BLOCK + k];
        add_products(&projection, block, inputs, outputs);
        for (int32_t k = 0; k < at_most(BLOCK, CHARRNN_VOCAB_SIZE - first); k++) logits[first + k] = outputs[k];
    }
}

/* Feed one character of a text; returns its token or an error. */
static int32_t feed_character(charrnn_state *state, const char **text)
{
    const int32_t token = charrnn_token(text);
    if (token >= 0) charrnn_step(state, token);
    return token;
}

int32_t charrnn_prime(charrnn_state *state, const char *text)
{
    int32_t count = 0;
    charrnn_init(state);
    charrnn_step(state, CHARRNN_BOUNDARY);
    for (; *text; count++) {
        const int32_t token = feed_character(state, &text);
        if (token < 0) return token;
    }
    return count;
}

/* The random stream: Philox4x64-10 (Salmon, Moraes, Dror and Shaw 2011) */

static uint64_t multiply(uint64_t a, uint64_t b, uint64_t *high)
{
    const uint64_t a0 = a & UINT32_MAX, a1 = a >> 32, b0 = b & UINT32_MAX, b1 = b >> 32;
    const uint64_t low = a0 * b0;
    const uint64_t middle = a1 * b0 + (low >> 32);
    const uint64_t other = a0 * b1 + (middle & UINT32_MAX);
    *high = a1 * b1 + (middle >> 32) + (other >> 32);
    return a * b;
}

static void next_block(charrnn_random *random)
{
    uint64_t x0 = ++random->counter, x1 = 0, x2 = 0, x3 = 0;
    uint64_t key0 = random->key[0], key1 = random->key[1];
    for (int32_t turn = 0; turn < 10; turn++) {
        uint64_t high0, high2;
        const uint64_t low0 = multiply(UINT64_C(0xd2e7470ee14c6c93), x0, &high0);
        const uint64_t low2 = multiply(UINT64_C(0xca5a826395121157), x2, &high2);
        x0 = high2 ^ x1 ^ key0;
        x1 = low2;
        x2 = high0 ^ x3 ^ key1;
        x3 = low0;
        key0 += UINT64_C(0x9e3779b97f4a7c15);
        key1 += UINT64_C(0xbb67ae8584caa73b);
    }
    random->block[0] = x0;
    random->block[1] = x1;
    random->block[2] = x2;
    random->block[3] = x3;
    random->used = 0;
}

void charrnn_seed(charrnn_random *random, uint64_t seed, uint64_t index)
{
    random->key[0] = seed;
    random->key[1] = index;
    random->counter = 0;
    random->used = 4;
}

double charrnn_uniform(charrnn_random *random)
{
    if (random->used == 4) next_block(random);
    return (double)(random->block[random->used++] >> 11) * (1.0 / 9007199254740992.0);
}

/* Drawing */

/* The token with the largest number, the lowest among equals; or CHARRNN_ERROR_LOGIT. */
static int32_t most_probable(const float *logits)
{
    int32_t best = 0;
    for (int32_t i = 0; i < CHARRNN_VOCAB_SIZE; i++) {
        if (isnan(logits[i])) return CHARRNN_ERROR_LOGIT;
        if (logits[i] > logits[best]) best = i;
    }
    return isinf(logits[best]) ? CHARRNN_ERROR_LOGIT : best;
}

/* The token that comes after another when they are ranked by weight, the lowest first among equals; -1 for none. */
static int32_t next_in_rank(const double *weights, int32_t last)
{
    int32_t best = -1;
    for (int32_t i = 0; i < CHARRNN_VOCAB_SIZE; i++) {
        const int behind = last < 0 || weights[i] < weights[last] || (weights[i] == weights[last] && i > last);
        if (behind && (best < 0 || weights[i] > weights[best])) best = i;
    }
    return best;
}

/* Set to zero all weights that rank behind a token. */
static void drop_behind(double *weights, int32_t last)
{
    const double least = weights[last];
    for (int32_t i = 0; i < CHARRNN_VOCAB_SIZE; i++)
        if (weights[i] < least || (weights[i] == least && i > last)) weights[i] = 0.0;
}

static double total(const double *weights)
{
    double sum = 0.0;
    for (int32_t i = 0; i < CHARRNN_VOCAB_SIZE; i++) sum += weights[i];
    return sum;
}

static void keep_top_k(double *weights, int32_t top_k)
{
    int32_t last = -1;
    if (top_k >= CHARRNN_VOCAB_SIZE) return;
    for (int32_t kept = 0; kept < top_k; kept++) last = next_in_rank(weights, last);
    drop_behind(weights, last);
}

static void keep_top_p(double *weights, double top_p)
{
    const double share = top_p * total(weights);
    double running = 0.0;
    int32_t last = next_in_rank(weights, -1);
    for (int32_t next = last; next >= 0; next = next_in_rank(weights, next)) {
        running += weights[next];
        if (running - weights[next] >= share) break;
        last = next;
    }
    drop_behind(weights, last);
}

static int32_t inverse_cdf(const double *weights, double uniform)
{
    const double sum = total(weights), target = fmin(uniform * sum, nextafter(sum, 0.0));
    double running = 0.0;
    int32_t token = 0;
    for (; token < CHARRNN_VOCAB_SIZE - 1; token++) {
        running += weights[token];
        if (running > target) break;
    }
    return token;
}

int32_t charrnn_draw(const float *logits, const charrnn_drawing *drawing, double uniform)
{
    double weights[CHARRNN_VOCAB_SIZE];
    const int32_t best = most_probable(logits);
    if (!(drawing->temperature >= 0.0) || isinf(drawing->temperature) || drawing->top_k < 0 ||
        !(drawing->top_p >= 0.0 && drawing->top_p <= 1.0) || !(uniform >= 0.0 && uniform < 1.0))
        return CHARRNN_ERROR_OPTION;
    if (best < 0 || drawing->temperature == 0.0) return best;
    for (int32_t i = 0; i < CHARRNN_VOCAB_SIZE; i++)
        weights[i] = exp(((double)logits[i] - (double)logits[best]) / drawing->temperature);
    if (drawing->top_k > 0) keep_top_k(weights, drawing->top_k);
    if (drawing->top_p > 0.0 && drawing->top_p < 1.0) keep_top_p(weights, drawing->top_p);
    return inverse_cdf(weights, uniform);
}

/* Whole texts */

/* Put a character at the end of a text; returns the new length, or CHARRNN_ERROR_BUFFER. */
static int32_t append(int32_t token, char *buffer, int32_t length, int32_t size)
{
    char bytes[4];
    const int32_t count = charrnn_character(token, bytes);
    if (count >= size - length) return CHARRNN_ERROR_BUFFER;
    for (int32_t i = 0; i < count; i++) buffer[length + i] = bytes[i];
    buffer[length + count] = '\0';
    return length + count;
}

/* Begin a line with the prefix and copy that; returns its length in bytes and, by `room`, how many may follow. */
static int32_t begin_sample(charrnn_state *state, const charrnn_request *request, char *buffer, int32_t size,
                            int32_t *room)
{
    const char *rest = request->prefix ? request->prefix : "";
    int32_t length = 0;
    charrnn_prime(state, "");
    for (*room = request->max_length; *rest; --*room) {
        const int32_t token = feed_character(state, &rest);
        if (token < 0) return token;
        if (*room == 1 || (CHARRNN_STOP_AT_BOUNDARY && token == CHARRNN_BOUNDARY)) return CHARRNN_ERROR_PREFIX;
        length = append(token, buffer, length, size);
        if (length < 0) return length;
    }
    return length;
}

int32_t charrnn_sample(charrnn_state *state, const charrnn_request *request, char *buffer, int32_t size)
{
    float logits[CHARRNN_VOCAB_SIZE];
    charrnn_random random;
    int32_t length, room;
    if (size < 1) return CHARRNN_ERROR_BUFFER;
    buffer[0] = '\0';
    if (request->max_length < 1) return CHARRNN_ERROR_OPTION;
    charrnn_seed(&random, request->seed, request->index);
    length = begin_sample(state, request, buffer, size, &room);
    while (length >= 0 && room-- > 0) {
        int32_t token;
        charrnn_logits(state, logits);
        token = charrnn_draw(logits, &request->drawing, charrnn_uniform(&random));
        if (token < 0) return token;
        if (CHARRNN_STOP_AT_BOUNDARY && token == CHARRNN_BOUNDARY) break;
        length = append(token, buffer, length, size);
        charrnn_step(state, token);
    }
    return length;
}

/* The natural logarithm of the probability of a token, or NaN where the logits are none. */
static double log_probability(const float *logits, int32_t token)
{
    const int32_t best = most_probable(logits);
    double sum = 0.0;
    if (best < 0) return NAN;
    for (int32_t i = 0; i < CHARRNN_VOCAB_SIZE; i++) sum += exp((double)logits[i] - (double)logits[best]);
    return (double)logits[token] - (double)logits[best] - log(sum);
}

int32_t charrnn_log_probability(charrnn_state *state, const char *line, double *sum)
{
    float logits[CHARRNN_VOCAB_SIZE];
    int32_t count = 0;
    *sum = 0.0;
    charrnn_prime(state, "");
    for (;; count++) {
        const int at_end = *line == '\0';
        const int32_t token = at_end ? CHARRNN_BOUNDARY : charrnn_token(&line);
        if (token < 0) return token;
        charrnn_logits(state, logits);
        *sum += log_probability(logits, token);
        if (isnan(*sum)) return CHARRNN_ERROR_LOGIT;
        if (at_end) return count;
        charrnn_step(state, token);
    }
}
