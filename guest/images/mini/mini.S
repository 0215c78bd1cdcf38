# The `mini` guest: one boot sector that does what a job does, in the time of a BIOS start.
#
# It reads sector 0 of the second disk, prints it on COM1, writes an answer to sector 1, adds one to a counter in sector 2 and
# powers off. When sector 0 starts with HANG it does all but power off. Without a second disk it says so and powers off.
#
#   sector 0   the host's text, up to 128 bytes or the first zero byte; in
#   sector 1   "anyvisor-mini-answer:" and the first 64 bytes of sector 0; out
#   sector 2   a counter, u32 little-endian; in and out
#
# 16-bit real mode and BIOS calls only: int 0x13 function 0x42/0x43 (disks by sector), int 0x15 function 0x53 (APM 1.2).
    .code16
    .section .text
    .globl _start
    .set buffer, 0x8000             # three sectors
_start:
    ljmp $0, $main
main:
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7c00, %sp
    cld
    movw $banner, %si
    call print

    movb $0x42, %ah                 # read
    call disk
    jc no_disk
    movw $buffer, %si
    call print
    movw $newline, %si
    call print

    movw $answer, %si               # sector 1
    movw $buffer + 512, %di
    movw $answer_end - answer, %cx
    rep movsb
    movw $buffer, %si
    movw $64, %cx
    rep movsb
    incl buffer + 1024              # sector 2

    movl $1, packet + 8             # write sectors 1 and 2
    movw $2, packet + 2
    movw $buffer + 512, packet + 4
    movw $0x4300, %ax
    call disk
    jc no_disk
    movw $done, %si
    call print
    cmpl $0x474e4148, buffer        # HANG
    je hang
    jmp power_off

no_disk:
    movw $missing, %si
    call print
power_off:
    movw $0x5301, %ax               # connect the real mode interface
    xorw %bx, %bx
    int $0x15
    movw $0x530e, %ax               # as version 1.2
    xorw %bx, %bx
    movw $0x0102, %cx
    int $0x15
    movw $0x5307, %ax               # all devices off
    movw $1, %bx
    movw $3, %cx
    int $0x15
hang:
    hlt
    jmp hang

disk:                               # AH: function; carry set on failure
    movb $0x81, %dl
    movw $packet, %si
    int $0x13
    ret

print:                              # SI: text, up to 128 bytes or a zero byte
    movw $128, %cx
1:  lodsb
    testb %al, %al
    jz 3f
    movb %al, %ah
2:  movw $0x3fd, %dx                # line status: may the next byte go?
    inb %dx, %al
    testb $0x20, %al
    jz 2b
    movw $0x3f8, %dx
    movb %ah, %al
    outb %al, %dx
    loop 1b
3:  ret

    .balign 4
packet:
    .byte 16, 0
    .word 3                         # sectors
    .word buffer, 0                 # offset, segment
    .long 0, 0                      # first sector
banner:
    .asciz "mini: started\r\n"
newline:
    .asciz "\r\n"
done:
    .asciz "mini: done\r\n"
missing:
    .asciz "mini: no second disk\r\n"
answer:
    .ascii "anyvisor-mini-answer:"
answer_end:
    .org 510
    .word 0xaa55
