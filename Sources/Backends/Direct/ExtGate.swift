import Abstractions

/// Decides by an ext2, ext3 or ext4 superblock whether the file system may be opened, and how.
///
/// Read by ourselves, before libext2fs sees the image: it opens dirty and damaged file systems without a word, and what is then
/// written is gone after the journal's replay. Layout: `struct ext2_super_block` in `ext2fs/ext2_fs.h`, little endian.
struct ExtGate {
    static let offset: Int64 = 1024
    static let length = 1024

    private let bytes: [UInt8]

    /// nil when these bytes are no ext superblock.
    init?(_ bytes: [UInt8]) {
        guard bytes.count >= ExtGate.length, bytes[0x38] == 0x53, bytes[0x39] == 0xEF else { return nil }
        self.bytes = bytes
    }

    private func number(_ offset: Int, _ count: Int) -> UInt64 {
        (0..<count).reduce(0) { $0 | UInt64(bytes[offset + $1]) << (8 * UInt64($1)) }
    }

    private var state: UInt64 { number(0x3A, 2) }
    private var incompatible: UInt64 { number(0x60, 4) }
    private var readOnlyCompatible: UInt64 { number(0x64, 4) }
    private var lastOrphan: UInt64 { number(0xE8, 4) }
    private var logBlockSize: UInt64 { number(0x18, 4) }
    private var blocks: UInt64 { number(0x04, 4) | (incompatible & 0x80 != 0 ? number(0x150, 4) << 32 : 0) }
    private var blockSize: UInt64 { logBlockSize <= 6 ? 1024 << logBlockSize : 0 }

    // MARK: - Gates

    /// What must hold before the file system is opened at all.
    ///
    /// - Throws: `corrupt` with the remedy, `unsupported`.
    func checkReadable(volumeSize: Int64, name volume: String) throws {
        guard blockSize > 0, blocks > 0 else { throw refusal(.corrupt, volume, "has a damaged superblock; run e2fsck") }
        guard blocks <= UInt64(Int64.max) / blockSize, Int64(blocks * blockSize) <= volumeSize else {
            throw refusal(
                .corrupt, volume,
                "is larger (\(blocks) blocks of \(blockSize) bytes) than its volume (\(volumeSize) bytes): the image is cut off"
            )
        }
        guard incompatible & 0x4 == 0 else {
            throw refusal(
                .corrupt, volume,
                "has a dirty journal; boot it once, or replay it with e2fsck -E journal_only")
        }
        guard state & 0x2 == 0 else {
            throw refusal(.corrupt, volume, "has errors noted by its last user; run e2fsck on it")
        }
        // Bits that libext2fs 1.47 knows, without journal devices and compression.
        let known: UInt64 = 0x2 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x20000
        guard incompatible & ~known == 0 else {
            let what = incompatible & 0x10000 != 0 ? "encryption" : "a feature this program does not know"
            throw refusal(
                .unsupported, volume, "uses \(what) (incompatible features 0x\(String(incompatible, radix: 16)))")
        }
    }

    /// What must hold beside that before anything is written.
    ///
    /// - Throws: `corrupt` with the remedy, `unsupported`.
    func checkWritable(name volume: String) throws {
        guard state & 0x1 != 0, readOnlyCompatible & 0x10000 == 0, lastOrphan == 0 else {
            throw refusal(.corrupt, volume, "was not unmounted cleanly; boot it once, or run e2fsck on it")
        }
        let incompatibleRefused: [(UInt64, String)] = [
            (0x100, "multiple mount protection (turn it off with tune2fs -O ^mmp)"),
            (0x400, "extended attributes in inodes of their own"),
            (0x8000, "data inside inodes (inline_data)"),
            (0x20000, "case folding"),
        ]
        let readOnlyRefused: [(UInt64, String)] = [
            (0x100, "quota (turn it off with tune2fs -O ^quota)"), (0x200, "clusters (bigalloc)"),
            (0x1000, "the read-only mark"), (0x2000, "project quota (turn it off with tune2fs -O ^project)"),
            (0x4000, "shared blocks"), (0x8000, "verity"),
        ]
        let reason =
            incompatibleRefused.first { incompatible & $0.0 != 0 }
            ?? readOnlyRefused.first {
                readOnlyCompatible & $0.0 != 0
            }
        if let reason { throw refusal(.unsupported, volume, "uses \(reason.1) and can only be read here") }
        let known: UInt64 = 0x1 | 0x2 | 0x8 | 0x10 | 0x20 | 0x40 | 0x400
        guard readOnlyCompatible & ~known == 0 else {
            throw refusal(
                .unsupported, volume,
                "uses features this program does not know (0x\(String(readOnlyCompatible, radix: 16))) and can only be read here"
            )
        }
    }

    private func refusal(_ code: BackendError.Code, _ volume: String, _ what: String) -> BackendError {
        BackendError(
            code, "disk.filesystem", "the file system on volume \(volume) \(what)", backend: "direct", blame: .disk)
    }
}
