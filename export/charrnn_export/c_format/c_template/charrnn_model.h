/*
 * A character-level language model in plain C99: one LSTM step, and everything to draw text from it.
 *
 * Nothing here allocates memory, prints, or keeps anything between two calls: the weights are constants (on a
 * microcontroller they stay in flash), and the state is a struct that the caller owns, so that any number of texts can
 * be drawn side by side. The only headers needed are stdint.h and math.h.
 *
 *     charrnn_state state;
 *     charrnn_request request = CHARRNN_REQUEST;
 *     char line[CHARRNN_LINE_BYTES];
 *     request.seed = 7;
 *     if (charrnn_sample(&state, &request, line, sizeof line) >= 0) puts(line);
 *
 * The same seed gives the same text as the Python runtime: sample number `index` of a seed uses the random stream
 * Philox4x64-10 with the key (seed, index), and the drawing rule is the one described at charrnn_draw.
 *
 * Text is UTF-8 and ends with a zero byte. It must already be in the form that the model was trained on, which stands
 * at CHARRNN_TEXT_FORM: letters are not lowered and accents are not composed here, since the tables for that are larger
 * than the model.
 *
 * Functions return a number of 0 or more, or one of the negative CHARRNN_ERROR_ codes.
 */
#ifndef CHARRNN_MODEL_H
#define CHARRNN_MODEL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* @sizes@ */

/* The most bytes of one sampled text, the zero at its end included, unless max_length is raised. */
#define CHARRNN_LINE_BYTES (CHARRNN_MAX_LENGTH * CHARRNN_CHARACTER_BYTES + 1)

/* The token of the newline, which begins and ends every line. */
#define CHARRNN_BOUNDARY 0

/* A token is not from 0 to CHARRNN_VOCAB_SIZE - 1. */
#define CHARRNN_ERROR_TOKEN (-1)
/* A text is not UTF-8. */
#define CHARRNN_ERROR_UTF8 (-2)
/* A text holds a character that the model has never seen. */
#define CHARRNN_ERROR_CHARACTER (-3)
/* The buffer is too small; it holds as many whole characters as fit. */
#define CHARRNN_ERROR_BUFFER (-4)
/* temperature, top_k, top_p or max_length has no meaning. */
#define CHARRNN_ERROR_OPTION (-5)
/* The prefix has max_length characters or more, or holds the newline that would end it. */
#define CHARRNN_ERROR_PREFIX (-6)
/* A logit is not a finite number, so that whatever was drawn would mean nothing. */
#define CHARRNN_ERROR_LOGIT (-7)

/* The state after some text: h and c of every layer, the lowest first. May be copied, to go on from one text twice. */
typedef struct {
    float h[CHARRNN_TOTAL_UNITS];
    float c[CHARRNN_TOTAL_UNITS];
} charrnn_state;

/* The random stream of one sample. */
typedef struct {
    uint64_t key[2];
    uint64_t counter;
    uint64_t block[4];
    int32_t used;
} charrnn_random;

/* How a token is drawn. */
typedef struct {
    /* Divides the logits: below 1 safer, above 1 wilder; 0 always takes the most probable token. */
    double temperature;
    /* Only the top_k most probable tokens are kept; 0 keeps all. */
    int32_t top_k;
    /* Only the fewest tokens that hold this share of the probability are kept; 0 (or 1) keeps all. */
    double top_p;
} charrnn_drawing;

/* What is to be sampled. */
typedef struct {
    /* What the text begins with: UTF-8, or a null pointer for nothing. */
    const char *prefix;
    /* Which family of samples, and which one of it. */
    uint64_t seed;
    uint64_t index;
    /* The most characters of the text, prefix included. */
    int32_t max_length;
    charrnn_drawing drawing;
} charrnn_request;

/* What charrnn_request holds unless told otherwise; to initialise one with. */
#define CHARRNN_REQUEST { 0, 0, 0, CHARRNN_MAX_LENGTH, { 1.0, 0, 0.0 } }

/* Text and tokens */

/* Read the character that a text begins with, and move the text behind it.
 * Returns its token, or CHARRNN_ERROR_UTF8 or CHARRNN_ERROR_CHARACTER; the text is then left where it was. At the end
 * of the text there is no character: look for the zero byte first. */
int32_t charrnn_token(const char **text);

/* Write the UTF-8 bytes of a token's character, without a zero behind them.
 * bytes: room for 4.
 * Returns how many were written, or CHARRNN_ERROR_TOKEN. */
int32_t charrnn_character(int32_t token, char *bytes);

/* The model, one step at a time */

/* Begin: set the state to zero, as it is before the newline that begins a line. */
void charrnn_init(charrnn_state *state);

/* Feed one token: the state becomes the one after it.
 * Returns 0, or CHARRNN_ERROR_TOKEN (the state is then as it was). */
int32_t charrnn_step(charrnn_state *state, int32_t token);

/* Compute the logits of the token that follows what was fed.
 * logits: CHARRNN_VOCAB_SIZE numbers; exp(logit), divided by the sum of all, is the probability of a token. */
void charrnn_logits(const charrnn_state *state, float *logits);

/* Begin a line: set the state to zero, and feed the newline and then a text.
 * Returns the number of characters fed, or CHARRNN_ERROR_UTF8 or CHARRNN_ERROR_CHARACTER. */
int32_t charrnn_prime(charrnn_state *state, const char *text);

/* Drawing */

/* Set a random stream to the beginning of sample number `index` of a seed. */
void charrnn_seed(charrnn_random *random, uint64_t seed, uint64_t index);

/* Return the next number of a random stream, at least 0 and below 1, with 53 random bits. */
double charrnn_uniform(charrnn_random *random);

/* Draw a token: logits / temperature, then top_k, then top_p, then the lowest token at which the running sum of the
 * weights passes uniform * their total. Among equals the lowest token comes first.
 * logits: CHARRNN_VOCAB_SIZE numbers. uniform: at least 0 and below 1; not looked at when temperature is 0.
 * Returns the token, or CHARRNN_ERROR_OPTION or CHARRNN_ERROR_LOGIT. Needs 8 * CHARRNN_VOCAB_SIZE bytes of stack. */
int32_t charrnn_draw(const float *logits, const charrnn_drawing *drawing, double uniform);

/* Sample a text.
 * state: set by the call; only lent to it, so that it need not be on the stack.
 * buffer: receives the text, prefix included, the newline that ended it not, and a zero byte.
 * size: of the buffer, in bytes, 1 or more; CHARRNN_LINE_BYTES is enough for any text of the default max_length.
 * Returns the number of bytes before the zero, or any of the error codes. Needs 12 * CHARRNN_VOCAB_SIZE bytes of stack,
 * and a few hundred. */
int32_t charrnn_sample(charrnn_state *state, const charrnn_request *request, char *buffer, int32_t size);

/* Compute how probable a line is: the sum of the natural logarithms of the probabilities of its characters and of the
 * newline that ends it. Divided by -log(2) * (characters + 1), it is the bits per character.
 * Returns the number of characters, or CHARRNN_ERROR_UTF8, CHARRNN_ERROR_CHARACTER or CHARRNN_ERROR_LOGIT. */
int32_t charrnn_log_probability(charrnn_state *state, const char *line, double *sum);

#ifdef __cplusplus
}
#endif

#endif
