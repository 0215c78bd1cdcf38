import Abstractions

#if canImport(Glibc)
    import Glibc
#endif

/// Counts what a copy has done against its policy, and tells progress.
struct CopyLedger {
    private let limits: CopyLimits?
    private let progress: ProgressSink
    private let totalBytes: Int64?
    private var report = CopyReport()
    private var promised: Int64 = 0
    private var entries = 0
    private var moved: Int64 = 0
    private var lastTold = ContinuousClock.now
    // The report travels as one line of at most 1 MiB, however long the names in an image are.
    private var roomForRefusals = 256 << 10

    init(policy: CopyPolicy, progress: ProgressSink, totalBytes: Int64?) {
        if case .untrusted(let limits) = policy { self.limits = limits } else { limits = nil }
        self.progress = progress
        self.totalBytes = totalBytes
    }

    var isFaithful: Bool { limits == nil }

    /// Why the policy does not take this kind at all; nil when it does.
    func objection(to kind: FileKind) -> String? {
        switch kind {
        case .file, .directory: nil
        case .symlink: isFaithful ? nil : "symbolic link"
        case .blockDevice: "block device"
        case .characterDevice: "character device"
        case .fifo: "pipe"
        case .socket: "socket"
        }
    }

    /// Takes an entry into the quota; returns the reason when it does not fit.
    mutating func admit(_ stat: FileStat, depth: Int) -> String? {
        let size = stat.kind == .file ? stat.size.bytes : 0
        if size < 0 { return "a size below zero" }
        if let limits {
            if depth > limits.depth { return "deeper than \(limits.depth) folders" }
            if entries >= limits.files { return "more than \(limits.files) files and folders" }
            if size > limits.bytes.bytes - promised { return "larger than the quota left" }
        }
        entries += 1
        promised += size
        return nil
    }

    mutating func advance(_ bytes: Int64) {
        moved += bytes
        let now = ContinuousClock.now
        guard now - lastTold >= .milliseconds(50) else { return }
        lastTold = now
        tell()
    }

    mutating func finishFile(_ stat: FileStat, rest: Int64) {
        report.bytes += stat.size.bytes
        report.files += 1
        advance(rest)
    }

    mutating func finishLink() {
        report.files += 1
        advance(0)
    }

    mutating func refuse(_ names: [String], _ reason: String) {
        let path = names.joined(separator: "/")
        let cost = path.utf8.reduce(64) { $0 + ($1 < 0x20 ? 6 : 1) }
        guard cost <= roomForRefusals else {
            report.refusedCount += 1
            return
        }
        roomForRefusals -= cost
        report.refuse(path, reason)
    }

    mutating func finish() -> CopyReport {
        tell()
        return report
    }

    private func tell() {
        progress.report(TransferProgress(bytes: moved, files: report.files, totalBytes: totalBytes))
    }

    /// Errors of the host that one name is to blame for, while the copy can go on.
    static func refusal(_ number: Int32) -> String? {
        switch number {
        case EEXIST: "a name that its folder has twice"
        case ENAMETOOLONG: "a name too long for the host's file system"
        case EINVAL, EILSEQ: "a name that the host's file system does not take"
        case EMLINK: "more names than the host's file system takes"
        default: nil
        }
    }
}
