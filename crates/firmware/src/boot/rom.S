# The option ROM that starts a kernel given with -kernel.
#
# The firmware registers it as a boot device (BIOS Boot Specification 1.01: PnP expansion header with a bootstrap
# entry vector). At boot it hands prepared fw_cfg DMA descriptors to the device, which copies the pieces to where
# they belong, then jumps: to the kernel's real-mode setup code, or by way of protected mode to a multiboot or PVH
# entry, after it has collected the firmware's memory map.
#
# Assembled with `as --32` and `ld -m elf_i386 -Ttext 0 --oformat binary`; rom.bin beside this file is the result,
# and a test compares the two. Rust fills in what is behind `parameters` (see rom.rs for the layout).
        .code16
        .globl _start
_start:
        .word   0xAA55
        .byte   4                       # 2 KiB
        jmp     init
        .org    0x18
        .word   0                       # no PCI data structure
        .word   pnp

        .org    0x20
pnp:    .ascii  "$PnP"
        .byte   1                       # revision
        .byte   2                       # length / 16
        .word   0                       # no next header
        .byte   0
        .byte   0                       # checksum, filled in by Rust
        .long   0                       # device identifier
        .word   maker
        .word   product
        .byte   0x02, 0x80, 0x00        # mass storage, other
        .byte   0xE4                    # indicators: IPL device, read cacheable, shadowable
        .word   0                       # no boot connection vector
        .word   0                       # no disconnect vector
        .word   bev
        .word   0
        .word   0

maker:  .asciz  "whpx"
product: .asciz "kernel loader"

init:   movw    $0x20, %ax              # an IPL device is attached
        lretw

bev:    cli
        cld
        movw    %cs, %ax
        movw    %ax, %ds
        movzwl  %ax, %ebp
        shll    $4, %ebp                # linear address of the ROM
        movw    count, %cx
        movw    $descriptors, %si
next:   jcxz    loaded
        movw    $0x514, %dx             # fw_cfg DMA address, big-endian, high half first
        xorl    %eax, %eax
        outl    %eax, %dx
        movzwl  %si, %eax
        addl    %ebp, %eax
        bswapl  %eax
        addw    $4, %dx
        outl    %eax, %dx               # the low half starts the transfer
        addw    $16, %si
        decw    %cx
        jmp     next

loaded: movw    stack_seg, %bx
        movw    %bx, %ss
        movl    stack_ptr, %esp
        cmpb    $0, protected
        jne     to_protected
        movw    %bx, %es
        movw    %bx, %fs
        movw    %bx, %gs
        pushw   entry_seg
        pushw   $0
        movw    %bx, %ds
        xorw    %bx, %bx
        lretw

# Protected mode: the memory map goes to es:di, then its size to where the parameters say.
to_protected:
        sti
        movw    map_seg, %es
        movw    map_off, %di
        xorl    %ebx, %ebx
        xorw    %si, %si                # entries
map:    movl    $20, %ecx
        movl    $0x534D4150, %edx
        movl    $0xE820, %eax
        pushw   %di
        cmpb    $0, map_sizes
        je      plain
        movl    $20, %es:(%di)          # multiboot: each entry starts with its size
        addw    $4, %di
        jmp     ask
plain:  movl    $0, %es:20(%di)         # PVH: each entry ends with a reserved field
ask:    int     $0x15
        popw    %di
        jc      mapped
        cmpl    $0x534D4150, %eax
        jne     mapped
        incw    %si
        addw    $24, %di
        cmpw    $128, %si
        jae     mapped
        testl   %ebx, %ebx
        jnz     map
mapped: cli
        movzwl  %si, %eax
        cmpb    $0, map_sizes
        je      store
        imull   $24, %eax               # multiboot wants bytes, PVH entries
store:  movw    map_len_off, %di
        movl    %eax, %es:(%di)
        movw    %es, %ax
        movw    %ax, %ds                # the page of hand-off data: GDT at 0, GDTR at 0x20, code at 0x40
        lgdtl   0x20
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        .byte   0x66, 0xEA              # ljmpl $8, $0x20040
        .long   0x20040
        .word   8

        .org    0x180
parameters:
protected: .byte 0
map_sizes: .byte 0
stack_seg: .word 0
stack_ptr: .long 0
entry_seg: .word 0
map_seg:   .word 0
map_off:   .word 0
map_len_off: .word 0
count:     .word 0
        .org    0x1A0
descriptors:
        .org    2048
