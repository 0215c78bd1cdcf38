import Abstractions
import BackendSupport
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Writes a host tree as a tar archive into a pipe that the appliance reads. Owns one thread's time; used once.
struct TarFeeder: HostTreeVisitor {
    private let pipe: Int32
    private let topName: String
    private let options: CopyInOptions
    private let cancellation: CancellationFlag
    private let activity: ActivityMeter
    private let progress: ProgressSink
    private let totalBytes: Int64?
    private var names: [String] = []
    private var links: [FileIdentity: String] = [:]
    private var pending: [UInt8] = []
    private var moved: Int64 = 0
    private var lastTold = ContinuousClock.now
    private(set) var report = CopyReport()

    /// - Parameters:
    ///   - pipe: where the archive goes; stays the caller's. SIGPIPE must be blocked.
    ///   - topName: what the top of the tree is called in the archive; `.` merges it into the folder.
    init(
        pipe: Int32, topName: String, options: CopyInOptions, progress: ProgressSink, totalBytes: Int64?,
        _ cancellation: CancellationFlag, _ activity: ActivityMeter
    ) {
        self.pipe = pipe
        self.topName = topName
        self.options = options
        self.progress = progress
        self.totalBytes = totalBytes
        self.cancellation = cancellation
        self.activity = activity
    }

    /// Writes the whole archive.
    ///
    /// - Throws: `CancellationError`, what the host says, `crashed` when nobody reads any more.
    mutating func feed(_ reader: HostTreeReader) throws -> CopyReport {
        try reader.walk(&self)
        // Two empty blocks end an archive.
        try put([UInt8](repeating: 0, count: 1024))
        try flush()
        tell()
        return report
    }

    mutating func enter(_ folder: HostEntry) throws -> Bool {
        try cancellation.check()
        names.append(names.isEmpty ? topName : folder.name)
        try put(TarEntry(path: path + "/", stat: owned(folder.stat)).header)
        return true
    }

    mutating func leave(_ folder: HostEntry) throws { names.removeLast() }

    mutating func visit(_ entry: HostEntry, open: () throws -> HostFile) throws {
        try cancellation.check()
        names.append(names.isEmpty ? topName : entry.name)
        defer { names.removeLast() }
        switch entry.stat.kind {
        case .file: try addFile(entry, open)
        case .symlink: try put(TarEntry(path: path, stat: owned(entry.stat)).header)
        case .directory: break
        case .fifo: refuse("pipe")
        case .socket: refuse("socket")
        case .blockDevice: refuse("block device")
        case .characterDevice: refuse("character device")
        }
    }

    // MARK: - Files

    private mutating func addFile(_ entry: HostEntry, _ open: () throws -> HostFile) throws {
        if let first = links[entry.identity] {
            try put(TarEntry(path: path, stat: owned(entry.stat), linkPath: first).header)
            report.files += 1
            return
        }
        if entry.stat.links > 1 { links[entry.identity] = path }
        let file = try open()
        var stat = owned(entry.stat)
        stat.size = ByteCount(file.size)
        let ranges = try file.dataRanges()
        let whole = file.size > 0 ? [0..<file.size] : []
        let tar = TarEntry(path: path, stat: stat, ranges: ranges == whole ? nil : ranges)
        try put(tar.header)
        try put(tar.sparseMap)
        for range in ranges { try addContent(file, range) }
        let used = tar.contentSize % 512
        if used != 0 { try put([UInt8](repeating: 0, count: Int(512 - used))) }
        report.files += 1
        report.bytes += file.size
    }

    private mutating func addContent(_ file: HostFile, _ range: Range<Int64>) throws {
        try flush()
        var done = range.lowerBound
        try file.read(range) { offset, bytes in
            try cancellation.check()
            try write(bytes)
            done = offset + Int64(bytes.count)
            advance(Int64(bytes.count))
        }
        // A file that shrank meanwhile is filled up: its header is written already.
        while done < range.upperBound {
            let count = min(1 << 16, Int(range.upperBound - done))
            try put([UInt8](repeating: 0, count: count))
            try flush()
            done += Int64(count)
        }
    }

    private func owned(_ stat: FileStat) -> FileStat {
        var stat = stat
        stat.uid = options.uid ?? stat.uid
        stat.gid = options.gid ?? stat.gid
        return stat
    }

    private var path: String { names.joined(separator: "/") }

    private mutating func refuse(_ reason: String) {
        report.refuse(names.count > 1 ? names.dropFirst().joined(separator: "/") : ".", reason)
    }

    // MARK: - The pipe

    private mutating func put(_ bytes: [UInt8]) throws {
        pending += bytes
        if pending.count > 1 << 17 { try flush() }
    }

    private mutating func flush() throws {
        try pending.withUnsafeBytes { try write($0) }
        pending.removeAll(keepingCapacity: true)
    }

    private func write(_ bytes: UnsafeRawBufferPointer) throws {
        var done = 0
        while done < bytes.count {
            let count = Glibc.write(pipe, bytes.baseAddress.map { $0 + done }, bytes.count - done)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw PipeClosed() }
            activity.note()
            done += count
        }
    }

    private mutating func advance(_ bytes: Int64) {
        moved += bytes
        guard ContinuousClock.now - lastTold >= .milliseconds(50) else { return }
        lastTold = .now
        tell()
    }

    private func tell() {
        progress.report(TransferProgress(bytes: moved, files: report.files, totalBytes: totalBytes))
    }
}

/// The reader of a pipe is gone; the reader's own error says why.
struct PipeClosed: Error {}
