/* Make the Python processes of a Linux machine see an older x86-64 processor than the one they run on.

   numpy, OpenBLAS, onnxruntime, LiteRT (XNNPACK), oneDNN and XLA each ask the instruction CPUID what the processor can do
   and choose their kernels by the answer; onnxruntime and LiteRT have no setting that overrides it. Linux can make CPUID
   fault (arch_prctl, on Intel since Ivy Bridge): the handler below runs the real instruction and takes features out.

   Loaded with LD_PRELOAD; OLDER_PROCESSOR names the processor. The C library has asked before this starts: it is told
   by GLIBC_TUNABLES. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { ARCH_CPUID_SET = 0x1012 }; /* of <asm/prctl.h> */

/* The bits of each register, by the numbers that Intel's manual gives them. */
#define BIT(n) (UINT32_C(1) << (n))
static const uint32_t FMA = BIT(12);                   /* leaf 1, ecx */
static const uint32_t AVX2 = BIT(5);                   /* leaf 7, ebx */
static const uint32_t AVX512_EBX = BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31);
static const uint32_t AVX512_ECX = BIT(1) | BIT(6) | BIT(9) | BIT(10) | BIT(11) | BIT(12) | BIT(14);
static const uint32_t AVX512_AMX_EDX = BIT(2) | BIT(3) | BIT(8) | BIT(22) | BIT(23) | BIT(24) | BIT(25);

typedef int set_action(int, const struct sigaction *, struct sigaction *);
static set_action *real_sigaction;
static struct sigaction of_the_program; /* what it asked for when SIGSEGV comes, a crash included */
static int active, without_avx2;

static void find_real_sigaction(void) {
    void *found = dlsym(RTLD_NEXT, "sigaction");
    memcpy(&real_sigaction, &found, sizeof found);
}

static void pass_on(int number, siginfo_t *info, void *context) {
    struct sigaction ends;
    if (of_the_program.sa_flags & SA_SIGINFO) {
        of_the_program.sa_sigaction(number, info, context);
    } else if (of_the_program.sa_handler != SIG_DFL && of_the_program.sa_handler != SIG_IGN) {
        of_the_program.sa_handler(number);
    } else { /* the instruction faults once more and ends the process */
        memset(&ends, 0, sizeof ends);
        ends.sa_handler = SIG_DFL;
        real_sigaction(SIGSEGV, &ends, NULL);
    }
}

static void on_fault(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *instruction = (const unsigned char *)registers[REG_RIP];
    uint32_t leaf = (uint32_t)registers[REG_RAX], part = (uint32_t)registers[REG_RCX];
    uint32_t eax = leaf, ebx, ecx = part, edx;
    int error = errno;
    if (info->si_code != SI_KERNEL || instruction[0] != 0x0f || instruction[1] != 0xa2) {
        pass_on(number, info, context);
        return;
    }
    syscall(SYS_arch_prctl, ARCH_CPUID_SET, 1);
    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    syscall(SYS_arch_prctl, ARCH_CPUID_SET, 0);
    if (leaf == 7 && part == 0) {
        ebx &= ~(AVX512_EBX | (without_avx2 ? AVX2 : 0));
        ecx &= ~AVX512_ECX;
        edx &= ~AVX512_AMX_EDX;
    } else if (leaf == 7) { /* AVX-VNNI, AVX512-BF16 and what came later */
        eax = ebx = ecx = edx = 0;
    } else if (leaf == 1 && without_avx2) {
        ecx &= ~FMA;
    }
    registers[REG_RAX] = eax;
    registers[REG_RBX] = ebx;
    registers[REG_RCX] = ecx;
    registers[REG_RDX] = edx;
    registers[REG_RIP] += 2;
    errno = error;
}

/* Python's faulthandler, and whoever else asks for SIGSEGV, gets what is left of it. */
int sigaction(int number, const struct sigaction *action, struct sigaction *before) {
    if (real_sigaction == NULL) find_real_sigaction();
    if (number != SIGSEGV || !active) return real_sigaction(number, action, before);
    if (before != NULL) *before = of_the_program;
    if (action != NULL) of_the_program = *action;
    return 0;
}

__attribute__((constructor)) static void start(void) {
    const char *processor = getenv("OLDER_PROCESSOR");
    struct sigaction action;
    /* Compilers, node and programs with sanitizers run as they are. */
    if (processor == NULL || strncmp(program_invocation_short_name, "python", 6) != 0) return;
    without_avx2 = strcmp(processor, "ivybridge") == 0;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    find_real_sigaction();
    if (real_sigaction(SIGSEGV, &action, &of_the_program) != 0) return;
    active = 1;
    if (syscall(SYS_arch_prctl, ARCH_CPUID_SET, 0) != 0) real_sigaction(SIGSEGV, &of_the_program, NULL), active = 0;
}
