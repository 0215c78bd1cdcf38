import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Follows a machine's serial console: the host file when the hypervisor writes one, else its console facet.
struct ConsoleTail: Sendable {
    private let log: HostPath
    private let facet: (any ConsoleFacet)?
    private let copy: HostPath?
    private let start: Int64
    private var offset: Int64
    private var copied: Int64 = 0

    /// The copy in the result folder holds at most this much.
    static let keep: Int64 = 16 << 20
    /// A guest that prints more than this is stopped: the log lies on the host's disk.
    static let flood: Int64 = 256 << 20
    private static let chunk = 1 << 20

    /// - Parameter start: bytes that were printed before and are not looked at.
    init(log: HostPath, facet: (any ConsoleFacet)?, copy: HostPath?, start: Int64 = 0) {
        self.log = log
        self.facet = facet
        self.copy = copy
        self.start = start
        offset = start
    }

    /// Whether there is anything to follow.
    var exists: Bool { facet != nil || HostFiles.exists(log) }
    /// Whether the guest prints without end.
    var isFlooded: Bool { (HostFiles.size(log) ?? offset) - start > Self.flood }

    /// Tells when the host file grows; nil when there is none.
    func changes(_ handler: @escaping @Sendable () -> Void) -> FileChanges? { FileChanges(of: log, handler) }

    /// What is new, at most 1 MiB; also appended to the copy.
    mutating func readMore() async -> [UInt8] {
        let bytes: [UInt8]
        if HostFiles.size(log) ?? 0 > 0 {
            bytes = readFile()
        } else if let facet {
            let offset = offset
            let late = BackendError(.timeout, "console.read", "the console is not read within 5 s")
            let found = try? await abandoning(at: .now + .seconds(5), late) {
                try await facet.read(offset: offset, count: 256 << 10)
            }
            bytes = found ?? []
        } else {
            bytes = []
        }
        offset += Int64(bytes.count)
        keepCopy(bytes)
        return bytes
    }

    private func readFile() -> [UInt8] {
        let descriptor = open(log.string, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return [] }
        defer { close(descriptor) }
        return [UInt8](unsafeUninitializedCapacity: Self.chunk) { buffer, count in
            count = max(0, pread(descriptor, buffer.baseAddress, Self.chunk, off_t(offset)))
        }
    }

    private mutating func keepCopy(_ bytes: [UInt8]) {
        guard let copy, !bytes.isEmpty, copied < Self.keep else { return }
        let descriptor = open(copy.string, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        let part = Array(bytes.prefix(Int(Self.keep - copied)))
        try? HostFiles.writeAll(descriptor, part, copy)
        copied += Int64(part.count)
    }
}
