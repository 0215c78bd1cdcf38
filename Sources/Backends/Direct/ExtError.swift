import Abstractions
import CExt2fs

#if canImport(Glibc)
    import Glibc
#endif

/// Turns libext2fs's error numbers into errors that a caller can act on.
enum ExtError {
    /// - Throws: a `BackendError` when `code` is not zero.
    static func check(_ code: errcode_t, _ operation: String, _ what: @autoclosure () -> String) throws {
        if code != 0 { throw error(code, operation, what()) }
    }

    static func error(_ number: errcode_t, _ operation: String, _ what: String) -> BackendError {
        let text = error_message(number).map { String(cString: $0) } ?? "error \(number)"
        let code: BackendError.Code =
            switch Int(number) {
            case Int(EXT2_ET_BLOCK_ALLOC_FAIL), Int(EXT2_ET_INODE_ALLOC_FAIL), Int(EXT2_ET_DIR_NO_SPACE): .noSpace
            case Int(EXT2_ET_UNSUPP_FEATURE), Int(EXT2_ET_RO_UNSUPP_FEATURE), Int(EXT2_ET_REV_TOO_HIGH),
                Int(EXT2_ET_UNKNOWN_CSUM), Int(EXT2_ET_FILE_TOO_BIG):
                .unsupported
            // A count in the metadata that no count can have.
            case Int(EOVERFLOW): .corrupt
            case Int(EXT2_ET_NO_MEMORY), Int(EXT2_ET_INVALID_ARGUMENT), 1..<4096: .internal
            // What is left are ways in which metadata can be wrong.
            default: .corrupt
            }
        let remedy =
            switch code {
            case .noSpace: "the file system in the image is full"
            case .corrupt: "the file system is damaged, run e2fsck on it"
            default: text
            }
        return BackendError(
            code, operation, "\(what): \(remedy)", backend: "direct", blame: code == .internal ? .backend : .disk,
            native: .init(domain: "ext2fs", code: Int(number), text: text))
    }

    /// An error that our own look at the metadata gives.
    static func corrupt(_ operation: String, _ what: String) -> BackendError {
        BackendError(
            .corrupt, operation, "\(what); the file system is damaged, run e2fsck on it", backend: "direct",
            blame: .disk)
    }
}
