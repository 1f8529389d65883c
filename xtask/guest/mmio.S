/* Accesses to device memory, by instruction kind: the guest of `cargo xtask bench mmio`.
 *
 * A multiboot kernel (32-bit ELF) that goes to long mode with the first 4 GiB mapped to themselves, puts the VGA into its planar
 * graphics mode, and then obeys the serial line: a letter chooses a kind, a digit or letter n the number of rounds (1 << n - '0');
 * it does them and answers '!'. A kind that the processor cannot do is answered with '-'. The host takes the time.
 * Letters in the order of `kinds` below; `xtask/src/bench/mmio.rs` has the same list.
 */

#define HPET    0xFED00000
#define WINDOW  0xA0000
#define COM1    0x3F8
/* Accesses of a string instruction. */
#define STRING  64

        .set    MAGIC, 0x1BADB002
        .section .text, "ax"
        .code32
        .align  4
        .long   MAGIC, 0, -MAGIC

        .globl  _start
_start:
        cli
        movl    $stack_end, %esp
        /* PML4 -> PDPT -> four page directories of 2 MiB pages. */
        movl    $pdpt + 3, pml4
        movl    $pd + 3, %eax
        movl    $pdpt, %edi
        movl    $4, %ecx
1:      movl    %eax, (%edi)
        addl    $4096, %eax
        addl    $8, %edi
        loop    1b
        movl    $0x83, %eax
        movl    $pd, %edi
        movl    $2048, %ecx
2:      movl    %eax, (%edi)
        addl    $0x200000, %eax
        addl    $8, %edi
        loop    2b
        movl    $0x620, %eax            /* PAE, OSFXSR, OSXMMEXCPT */
        movl    %eax, %cr4
        movl    $pml4, %eax
        movl    %eax, %cr3
        movl    $0xC0000080, %ecx
        rdmsr
        orl     $0x100, %eax
        wrmsr
        movl    $0x80000033, %eax       /* paging, NE, ET, MP, PE */
        movl    %eax, %cr0
        lgdt    gdtr
        ljmp    $8, $long_mode

        .code64
long_mode:
        xorl    %eax, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        /* AVX: CPUID.1:ECX has XSAVE (26) and AVX (28). */
        movl    $1, %eax
        cpuid
        andl    $0x14000000, %ecx
        cmpl    $0x14000000, %ecx
        jne     3f
        movq    %cr4, %rax
        orl     $0x40000, %eax
        movq    %rax, %cr4
        xorl    %ecx, %ecx
        xorl    %edx, %edx
        movl    $7, %eax
        xsetbv
        movl    $has_avx, %edi
        movb    $1, (%rdi)
3:      fninit
        /* The planar mode: sequencer 2 and 4, graphics controller 0 to 8. */
        movl    $planar, %esi
4:      movzwl  (%rsi), %edx
        testl   %edx, %edx
        jz      5f
        movw    2(%rsi), %ax
        outw    %ax, %dx
        addl    $4, %esi
        jmp     4b
5:      movw    $0x3C2, %dx             /* memory enabled, colour */
        movb    $0x67, %al
        outb    %al, %dx
        movb    $'>', %al
        call    put

main:   call    get
        subb    $'a', %al
        movzbl  %al, %ebp
        call    get
        subb    $'0', %al
        movb    %al, %cl
        movl    $1, %r8d
        shlq    %cl, %r8
        cmpl    $KINDS, %ebp
        jae     main
        shll    $4, %ebp
        addl    $kinds, %ebp
        movl    (%rbp), %r9d
        movl    4(%rbp), %ebx
        cmpl    $0, 8(%rbp)
        je      6f
        movl    $has_avx, %edi
        cmpb    $1, (%rdi)
        je      6f
        movb    $'-', %al
        call    put
        jmp     main
6:      movl    $buffer, %r10d
        movq    %r8, %rcx
        cld
        call    *%r9
        movb    $'!', %al
        call    put
        jmp     main

get:    movw    $COM1 + 5, %dx
1:      inb     %dx, %al
        testb   $1, %al
        jz      1b
        movw    $COM1, %dx
        inb     %dx, %al
        ret

put:    pushq   %rax
        movw    $COM1 + 5, %dx
1:      inb     %dx, %al
        testb   $0x20, %al
        jz      1b
        popq    %rax
        movw    $COM1, %dx
        outb    %al, %dx
        ret

/* RBX: the register; RCX: rounds; R10: memory. */
        .macro  KIND name, insn:vararg
\name:
1:      \insn
        decq    %rcx
        jnz     1b
        ret
        .endm

        KIND    load1, movb (%rbx), %al
        KIND    load2, movw (%rbx), %ax
        KIND    load4, movl (%rbx), %eax
        KIND    load8, movq (%rbx), %rax
        KIND    store1, movb %r8b, (%rbx)
        KIND    store2, movw %r8w, (%rbx)
        KIND    store4, movl %r8d, (%rbx)
        KIND    store8, movq %r8, (%rbx)
        KIND    rmw1, orb $1, (%rbx)
        KIND    rmw4, addl $1, (%rbx)
        KIND    locked4, lock xaddl %eax, (%rbx)
        KIND    sse_load, movdqu (%rbx), %xmm0
        KIND    sse_store, movdqu %xmm1, (%rbx)
        KIND    avx_load, vmovdqu (%rbx), %ymm0
        KIND    avx_store, vmovdqu %ymm1, (%rbx)
        KIND    mmx_load, movq (%rbx), %mm0
        KIND    x87_load, fldl (%rbx); fstp %st(0)
        KIND    movzx, movzwl (%rbx), %eax

/* A round is STRING accesses. */
        .macro  STRINGS name, source, destination, insn:vararg
\name:
        movq    %rcx, %r11
1:      movq    \source, %rsi
        movq    \destination, %rdi
        movl    $STRING, %ecx
        \insn
        decq    %r11
        jnz     1b
        ret
        .endm

        STRINGS stosb, %r10, %rbx, rep stosb
        STRINGS stosl, %r10, %rbx, rep stosl
        STRINGS movsl_in, %rbx, %r10, rep movsl
        STRINGS movsl_out, %r10, %rbx, rep movsl

        .macro  ENTRY code, target, avx
        .long   \code, \target, \avx, 0
        .endm

        .align  16
kinds:  ENTRY   load1, WINDOW, 0        /* a */
        ENTRY   load2, WINDOW, 0
        ENTRY   load4, WINDOW, 0
        ENTRY   load8, WINDOW, 0
        ENTRY   store1, WINDOW, 0       /* e */
        ENTRY   store2, WINDOW, 0
        ENTRY   store4, WINDOW, 0
        ENTRY   store8, WINDOW, 0
        ENTRY   rmw1, WINDOW, 0         /* i */
        ENTRY   stosb, WINDOW, 0
        ENTRY   stosl, WINDOW, 0
        ENTRY   movsl_in, WINDOW, 0
        ENTRY   movsl_out, WINDOW, 0    /* m */
        ENTRY   sse_load, WINDOW, 0
        ENTRY   sse_store, WINDOW, 0
        ENTRY   avx_store, WINDOW, 1
        ENTRY   load4, HPET + 0x148, 0  /* q: a comparator, which stands */
        ENTRY   load8, HPET + 0x148, 0
        ENTRY   store4, HPET + 0x148, 0
        ENTRY   store8, HPET + 0x148, 0
        ENTRY   rmw4, HPET + 0x148, 0   /* u */
        ENTRY   locked4, HPET + 0x148, 0
        ENTRY   movzx, HPET + 0x148, 0
        ENTRY   mmx_load, HPET + 0x148, 0
        ENTRY   x87_load, HPET + 0x148, 0 /* y */
        ENTRY   sse_load, HPET + 0x140, 0
        ENTRY   avx_load, HPET + 0x140, 1 /* { */
kinds_end:
        .set    KINDS, (kinds_end - kinds) / 16

planar: .word   0x3C4, 0x0F02, 0x3C4, 0x0604
        .word   0x3CE, 0x0000, 0x3CE, 0x0001, 0x3CE, 0x0002, 0x3CE, 0x0003, 0x3CE, 0x0004
        .word   0x3CE, 0x0005, 0x3CE, 0x0506, 0x3CE, 0x0F07, 0x3CE, 0xFF08
        .word   0

        .align  16
gdt:    .quad   0, 0x00AF9A000000FFFF, 0x00CF92000000FFFF
gdtr:   .word   gdtr - gdt - 1
        .long   gdt

        .bss
has_avx: .skip  1
        .align  4096
pml4:   .skip   4096
pdpt:   .skip   4096
pd:     .skip   4 * 4096
buffer: .skip   4096
stack:  .skip   4096
stack_end:
