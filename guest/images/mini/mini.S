# The guest `mini`: one boot sector, 16-bit real mode, BIOS calls only.
#
# It makes the life cycle, console and IO disk of a hypervisor backend testable in 0.1 s, also where no kernel boots.
# It reads sector 0 of the IO disk (the second BIOS disk, 0x81), prints it on COM1, writes an answer to sector 1, adds
# one to the counter in sector 2, obeys a command in the first four bytes of sector 0, and powers off by APM.
#
#   sector 0   in    text, printed up to its first control character (at most 128 bytes)
#   sector 1   out   "anyvisor-mini-answer:" and the first 491 bytes of sector 0
#   sector 2   both  32-bit little-endian counter, plus one for each boot
#
#   HANG       never powers off; prints a counter kept in memory once a second
#   WAITn      n = 1..9: the same for n seconds, then powers off
#   WARM       like HANG, and reads sector 0 again at each count: does with another one what it does after a boot
#   CRSH       triple fault: the processor resets
#
# COM1 carries lines that end in CR LF: "mini: started", the text of sector 0, "mini: done" when the answers are written,
# "mini: tick NNNN" with a hexadecimal number. Or "mini: disk error " and the BIOS status, and it powers off.

        .code16
        .globl  _start

        .set    buffer, 0x8000          # sector 0, then sector 2
        .set    answer, 0x8400          # sector 1
        .set    ticks_of_bios, 0x046c   # 18.2 a second, kept by the BIOS
        .set    answer_length, answer_text_end - answer_text

_start:
        ljmp    $0, $begin              # some BIOSes start us at 0x07c0:0
begin:
        cli
        xorw    %bx, %bx
        movw    %bx, %ds
        movw    %bx, %es
        movw    %bx, %ss
        movw    $0x7c00, %sp
        sti
        cld

        movw    $0x00e3, %ax            # 9600 baud, 8N1
        xorw    %dx, %dx
        int     $0x14
        movw    $text_start, %si
        call    print

        movw    $0x0201, %ax            # read sector 0
        movw    $buffer, %bx
        movb    $1, %cl
        call    disk

obey:   movw    $buffer, %si
        movw    $128, %cx
1:      lodsb
        cmpb    $' ', %al
        jb      2f
        call    put
        loop    1b
2:      call    newline

        movw    $answer_text, %si       # write the answer to sector 1
        movw    $answer, %di
        movw    $answer_length, %cx
        rep movsb
        movw    $buffer, %si
        movw    $512 - answer_length, %cx
        rep movsb
        movl    buffer, %ebp            # the command
        movb    buffer + 4, %al         # its seconds
        pushw   %ax
        movw    $0x0301, %ax
        movw    $answer, %bx
        movb    $2, %cl
        call    disk

        movw    $0x0201, %ax            # count in sector 2
        movw    $buffer, %bx
        movb    $3, %cl
        call    disk
        incl    buffer
        movw    $0x0301, %ax
        call    disk
        movw    $text_done, %si
        call    print

        popw    %cx
        movzbw  %cl, %cx
        subw    $'0', %cx               # cx = seconds left
        xorw    %di, %di                # di = ticks printed
        cmpl    $0x48535243, %ebp       # "CRSH"
        je      crash
        cmpl    $0x54494157, %ebp       # "WAIT"
        je      second
        movw    $-1, %cx
        cmpl    $0x4d524157, %ebp       # "WARM"
        je      second
        cmpl    $0x474e4148, %ebp       # "HANG"
        jne     off

second: movl    ticks_of_bios, %eax
        addl    $18, %eax
3:      hlt
        cmpl    %eax, ticks_of_bios
        jb      3b
        incw    %di
        movw    $text_tick, %si
        call    print
        movw    %di, %dx
        call    hex
        call    newline
        cmpw    $-1, %cx                # HANG and WARM count for ever
        jne     7f
        cmpl    $0x4d524157, %ebp       # "WARM"
        jne     second
        movw    $0x0201, %ax
        movw    $buffer, %bx
        movb    $1, %cl
        call    disk
        movw    $-1, %cx
        cmpl    %ebp, buffer
        je      second
        jmp     obey
7:      loop    second

off:    movw    $0x5301, %ax            # APM: connect, version 1.2, all devices off
        xorw    %bx, %bx
        int     $0x15
        movw    $0x530e, %ax
        xorw    %bx, %bx
        movw    $0x0102, %cx
        int     $0x15
        movw    $0x5307, %ax
        movw    $1, %bx
        movw    $3, %cx
        int     $0x15
halt:   hlt                             # no APM: stay, the deadline ends us
        jmp     halt

crash:  lidt    no_table
        int3

# One sector of the second disk at es:bx; ah = 2 read, 3 write; cl = sector number from 1. Keeps bx and cl.
disk:   movb    $0, %ch
        movw    $0x0081, %dx
        int     $0x13
        jc      4f
        ret
4:      movw    %ax, %dx
        movw    $text_error, %si
        call    print
        call    hex
        call    newline
        jmp     off

# dx as four hexadecimal digits.
hex:    pushw   %cx
        movw    $4, %cx
5:      rolw    $4, %dx
        movb    %dl, %al
        andb    $15, %al
        cmpb    $10, %al
        sbbb    $0x69, %al
        das
        call    put
        loop    5b
        popw    %cx
        ret

newline:
        movw    $text_newline, %si
# Text at si, up to a zero byte.
print:  lodsb
        testb   %al, %al
        jz      6f
        call    put
        jmp     print
6:      ret

# al to COM1.
put:    pushaw
        movb    $1, %ah
        xorw    %dx, %dx
        int     $0x14
        popaw
        ret

text_start:     .asciz  "mini: started\r\n"
text_done:      .asciz  "mini: done\r\n"
text_tick:      .asciz  "mini: tick "
text_error:     .asciz  "mini: disk error "
text_newline:   .asciz  "\r\n"
answer_text:    .ascii  "anyvisor-mini-answer:"
answer_text_end:
        .balign 2
no_table:       .word   0, 0, 0

        .org    510
        .byte   0x55, 0xaa
