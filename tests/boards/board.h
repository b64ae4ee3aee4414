/* What an emulated board offers to a program. */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

/* Print a text through the debugger. */
void board_print(const char *text);

/* Ticks since the start: 40 instructions each, when qemu counts them (-icount shift=0). Wraps at 2^24. */
uint32_t board_ticks(void);

/* Forget how deep the stack has been, and ask how many bytes it has grown below the caller since. */
void board_paint_stack(void);
uint32_t board_stack_used(void);

#endif
