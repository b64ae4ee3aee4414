/* Draw NUMBER names of SEED and print them; then a line with "#", the bytes of stack and the instructions a character. */
#include "board.h"
#include "charrnn_model.h"

static charrnn_state state;
static char line[CHARRNN_LINE_BYTES];

static void print_number(uint32_t value)
{
    char digits[11];
    char *first = digits + sizeof digits - 1;
    *first = '\0';
    do {
        *--first = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    board_print(first);
}

static uint32_t characters(const char *text)
{
    uint32_t count = 1; /* the boundary is drawn as well */
    while (*text) count += (*text++ & 0xc0) != 0x80;
    return count;
}

int main(void)
{
    charrnn_request request = CHARRNN_REQUEST;
    uint32_t stack = 0, most = 0;
    request.seed = SEED;
    for (request.index = 0; request.index < NUMBER; request.index++) {
        board_paint_stack();
        const uint32_t before = board_ticks();
        if (charrnn_sample(&state, &request, line, sizeof line) < 0) return 1;
        const uint32_t ticks = (board_ticks() - before) & 0xffffffu, each = ticks * 40u / characters(line);
        const uint32_t used = board_stack_used();
        if (used > stack) stack = used;
        if (each > most) most = each;
        board_print(line);
        board_print("\n");
    }
    board_print("# ");
    print_number(stack);
    board_print(" ");
    print_number(most);
    board_print("\n");
    return 0;
}
