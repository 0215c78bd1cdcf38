import Abstractions

/// The superblock of an ext2, ext3 or ext4 file system, as far as it tells whether the file system may be opened.
///
/// Source of the offsets: the kernel's `fs/ext4/ext4.h`, `struct ext4_super_block`; all numbers are little-endian.
public struct ExtSuperblock: Sendable, Hashable {
    /// Where it lies, from the start of the file system, in bytes.
    public static let offset: Int64 = 1024
    /// How long it is, in bytes.
    public static let length = 1024

    /// `s_state`: 1 cleanly unmounted, 2 errors found.
    public let state: UInt16
    /// `s_feature_compat`.
    public let compatible: UInt32
    /// `s_feature_incompat`.
    public let incompatible: UInt32
    /// `s_feature_ro_compat`.
    public let readOnlyCompatible: UInt32
    /// The file system's size in bytes as it says itself.
    public let size: Int64

    /// Reads it; nil when the bytes are no superblock.
    public init?(_ bytes: UnsafeRawBufferPointer) {
        func number<Value: FixedWidthInteger>(_ offset: Int, as type: Value.Type) -> Value {
            Value(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: type))
        }
        guard bytes.count >= ExtSuperblock.length, number(0x38, as: UInt16.self) == 0xef53 else { return nil }
        state = number(0x3a, as: UInt16.self)
        compatible = number(0x5c, as: UInt32.self)
        incompatible = number(0x60, as: UInt32.self)
        readOnlyCompatible = number(0x64, as: UInt32.self)
        let high = incompatible & 0x80 != 0 ? Int64(number(0x150, as: UInt32.self)) : 0
        let blocks = high << 32 | Int64(number(0x04, as: UInt32.self))
        let shift = Int64(min(16, number(0x18, as: UInt32.self))) + 10
        size = blocks.multipliedReportingOverflow(by: 1 << shift).overflow ? Int64.max : blocks << shift
    }

    /// Whether the journal holds changes that are not in the file system yet.
    public var needsRecovery: Bool { incompatible & 0x4 != 0 }
    /// Whether it has a journal.
    public var hasJournal: Bool { compatible & 0x4 != 0 }
    /// Whether the kernel or a check found errors that nobody has repaired.
    public var hasErrors: Bool { state & 2 != 0 }
    /// Whether its last user unmounted it.
    public var isClean: Bool { state & 1 != 0 && !needsRecovery }
    /// Whether it keeps quota in hidden files, which only the kernel keeps up to date.
    public var hasQuota: Bool { readOnlyCompatible & 0x100 != 0 }

    /// Why the file system on this volume must not be opened, for reading or writing; nil when it may be.
    ///
    /// - Parameter volumeSize: the size of what it lies in, in bytes.
    public func objection(_ name: String, volumeSize: Int64) -> BackendError? {
        func corrupt(_ what: String) -> BackendError {
            BackendError(.corrupt, "disk.filesystem", "the file system on \(name) \(what)")
        }
        if needsRecovery {
            return corrupt("has a journal that was not replayed; boot its machine, or run e2fsck on the disk's content")
        }
        if hasErrors { return corrupt("is marked as damaged; run e2fsck -f on the disk's content") }
        if !isClean { return corrupt("was not unmounted; run e2fsck -f on the disk's content") }
        if size > volumeSize { return corrupt("is larger (\(ByteCount(size))) than its volume") }
        return nil
    }
}
