/// A boot sector that shows that a machine runs: it prints a line on COM1 and powers off.
///
/// 16-bit real mode and BIOS calls only (int 0x14 functions 0 and 1: serial port; int 0x15 function 0x53: APM 1.2), 8086 code
/// at 0x7c00:
/// ```
///       cli; xor ax,ax; mov ds,ax; mov ss,ax; mov sp,7c00h
///       mov ax,00e3h; xor dx,dx; int 14h                       9600 baud, 8 bits, no parity
///       mov si,text
/// next: lodsb; test al,al; jz off; mov ah,1; xor dx,dx; int 14h; jmp next
/// off:  mov ax,5301h; xor bx,bx; int 15h                       connect the real mode interface
///       mov ax,530eh; xor bx,bx; mov cx,0102h; int 15h         version 1.2
///       mov ax,5307h; mov bx,1; mov cx,3; int 15h              all devices off
/// stop: hlt; jmp stop
/// text: db "anyvisor-proof",13,10,0
/// ```
public enum ProofSector {
    /// What it prints.
    public static let text = "anyvisor-proof"

    /// A whole disk of 1 MiB with the sector at its start.
    public static var disk: [UInt8] {
        var bytes = code + Array(text.utf8) + [13, 10, 0]
        bytes += [UInt8](repeating: 0, count: 510 - bytes.count) + [0x55, 0xaa]
        return bytes + [UInt8](repeating: 0, count: (1 << 20) - bytes.count)
    }

    private static let code: [UInt8] = [
        0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, 0xb8, 0xe3, 0x00, 0x31, 0xd2, 0xcd, 0x14, 0xbe,
        0x40,
        0x7c, 0xac, 0x84, 0xc0, 0x74, 0x08, 0xb4, 0x01, 0x31, 0xd2, 0xcd, 0x14, 0xeb, 0xf3, 0xb8, 0x01, 0x53, 0x31,
        0xdb,
        0xcd, 0x15, 0xb8, 0x0e, 0x53, 0x31, 0xdb, 0xb9, 0x02, 0x01, 0xcd, 0x15, 0xb8, 0x07, 0x53, 0xbb, 0x01, 0x00,
        0xb9,
        0x03, 0x00, 0xcd, 0x15, 0xf4, 0xeb, 0xfd,
    ]
}
