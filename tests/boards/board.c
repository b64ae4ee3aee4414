#include "board.h"

#include <stddef.h>

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define SYSTICK_CONTROL REGISTER(0xe000e010)
#define SYSTICK_RELOAD REGISTER(0xe000e014)
#define SYSTICK_VALUE REGISTER(0xe000e018)
#define COPROCESSOR_ACCESS REGISTER(0xe000ed88)

#define STACK_PATTERN 0xa5a5a5a5u

extern uint32_t data_source[], data_begin[], data_end[], bss_begin[], bss_end[], stack_top[];
static uint32_t *painted_from;

int main(void);

static void semihosting(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

void board_print(const char *text)
{
    semihosting(0x04, text);
}

static _Noreturn void board_exit(int failed)
{
    const uint32_t reason[] = {0x20026, failed ? 1 : 0};
    semihosting(0x20, reason);
    for (;;) {}
}

uint32_t board_ticks(void)
{
    return 0xffffffu - SYSTICK_VALUE;
}

void board_paint_stack(void)
{
    __asm__ volatile("mov %0, sp" : "=r"(painted_from));
    painted_from -= 16; /* below what this function itself may yet save */
    for (uint32_t *word = painted_from; word > bss_end; word--) *word = STACK_PATTERN;
}

uint32_t board_stack_used(void)
{
    const uint32_t *word = bss_end + 1;
    while (word < painted_from && *word == STACK_PATTERN) word++;
    return (uint32_t)((painted_from - word) * 4);
}

void reset(void);
void reset(void)
{
#ifdef __ARM_FP
    COPROCESSOR_ACCESS |= 0xfu << 20;
    __asm__ volatile("dsb\n isb");
#endif
    for (ptrdiff_t i = 0; i < data_end - data_begin; i++) data_begin[i] = data_source[i];
    for (uint32_t *word = bss_begin; word < bss_end; word++) *word = 0;
    SYSTICK_RELOAD = 0xffffff;
    SYSTICK_VALUE = 0;
    SYSTICK_CONTROL = 5;
    board_exit(main());
}

static void fault(void)
{
    board_print("# fault\n");
    board_exit(1);
}

__attribute__((section(".vectors"), used)) static void (*const vectors[])(void) = {
    (void (*)(void))stack_top, reset, fault, fault, fault, fault, fault,
};
