#if canImport(Glibc)
    import Glibc
#endif

/// What lies at the beginning of the IO disk of a warm machine once its job is there; the layout is that of guest/wake.c.
enum WakeBlock {
    /// Bytes that ext4 leaves free at the beginning of a disk, and that only the host writes.
    static let size = 512

    /// What the machine shall do with the disk.
    enum Purpose: UInt8 { case job = 0, rehearsal = 1 }

    /// A new block: the time now and new random bytes.
    static func make(_ purpose: Purpose) -> [UInt8] {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        let nanoseconds = UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
        var block = Array("anyvisor-wake\n\0\0".utf8)
        block += (0..<8).map { UInt8(truncatingIfNeeded: nanoseconds >> (8 * $0)) }
        var generator = SystemRandomNumberGenerator()
        block += (0..<64).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
        block.append(purpose.rawValue)
        return block + [UInt8](repeating: 0, count: size - block.count)
    }
}
