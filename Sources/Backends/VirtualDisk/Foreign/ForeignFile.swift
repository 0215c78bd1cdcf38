import Abstractions
import Host
import Synchronization

/// An image of one of QEMU's formats: its content as a file, through a `qemu-nbd` of its own.
///
/// Offsets are those of the disk. The first write to a qcow2 image leaves a mark beside it, a log in the making without content,
/// which goes when all has ended well: whoever finds it later looks for clusters that were lost.
final class ForeignFile: ImageFile {
    let path: HostPath
    let server: ForeignServer
    private let plan: ForeignPlan
    /// Held until the server has ended.
    private let locks: [PosixFile]
    private let state = Mutex<(mark: HostPath?, hasFailed: Bool)>((nil, false))

    /// Starts the server of a chain whose files are locked.
    init(_ plan: ForeignPlan, _ mode: AccessMode, locks: [PosixFile]) throws {
        path = plan.path
        self.plan = plan
        self.locks = locks
        server = try ForeignServer(plan.path, plan.node, mode, snapshot: plan.snapshot)
        let size = server.client.size
        guard size > 0, plan.size.map({ ($0 + 511) / 512 * 512 == (size + 511) / 512 * 512 }) ?? true else {
            throw BackendError(
                .corrupt, "disk.open",
                "\(path) is damaged: its header says \(plan.size ?? 0) bytes, QEMU finds \(size)", blame: .disk)
        }
    }

    deinit {
        let isClean = server.end()
        let (mark, hasFailed) = state.withLock { $0 }
        guard let mark else { return }
        if isClean && !hasFailed || (try? ForeignTool.repairLeaks(plan)) != nil { try? HostFiles.removeTree(mark) }
    }

    func length() throws -> Int64 { server.client.size }

    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws {
        // Some formats are read in sectors only.
        guard offset % 512 == 0, buffer.count % 512 == 0 || offset + Int64(buffer.count) >= server.client.size else {
            return try readAround(offset, buffer)
        }
        let inside = Int(max(0, min(Int64(buffer.count), server.client.size - offset)))
        try asking("disk.read") { client in
            try client.read(at: offset, into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<inside]))
        }
        UnsafeMutableRawBufferPointer(rebasing: buffer[inside...]).initializeMemory(as: UInt8.self, repeating: 0)
    }

    private func readAround(_ offset: Int64, _ buffer: UnsafeMutableRawBufferPointer) throws {
        let (first, last) = (offset / 512 * 512, (offset + Int64(buffer.count) + 511) / 512 * 512)
        try withUnsafeTemporaryAllocation(byteCount: Int(last - first), alignment: 512) { sectors in
            try read(at: first, into: sectors)
            let start = Int(offset - first)
            buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: sectors[start..<start + buffer.count]))
        }
    }

    func write(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws {
        try leaveMark()
        try asking("disk.write") { try $0.write(at: offset, from: buffer) }
    }

    func hole(at offset: Int64, count: Int64) throws -> Int64 {
        let run = try status(at: offset, count: count)
        return run.isZero ? run.length : 0
    }

    /// Writes what is there over itself: only then the clusters, which may be shared with a snapshot, compressed, or not there at
    /// all, have a place of their own.
    func reserve(at offset: Int64, count: Int64) throws {
        let most: Int64 = 1 << 20
        try withUnsafeTemporaryAllocation(byteCount: Int(min(most, count)), alignment: 4096) { buffer in
            var done: Int64 = 0
            while done < count {
                let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(min(most, count - done))])
                try read(at: offset + done, into: part)
                try write(at: offset + done, from: UnsafeRawBufferPointer(part))
                done += Int64(part.count)
            }
        }
    }

    /// The tables of the clusters need their places too.
    func finishReserving() throws { try sync() }

    func truncate(to length: Int64) throws {
        throw BackendError(.internal, "disk.write", "the size of \(path) never changes here")
    }

    func sync() throws { try asking("disk.write") { try $0.flush() } }

    /// What is known of the bytes from `offset` on.
    func status(at offset: Int64, count: Int64) throws -> NBDClient.Run {
        try asking("disk.read") { try $0.status(at: offset, count: count) }
    }

    func settle() {
        state.withLock { state in
            guard let mark = state.mark, !state.hasFailed else { return }
            try? HostFiles.removeTree(mark)
            state.mark = nil
        }
    }

    private func asking<Value>(_ operation: String, _ body: (NBDClient) throws -> Value) throws -> Value {
        do {
            return try body(server.client)
        } catch let failure as NBDClient.Failure {
            state.withLock { $0.hasFailed = true }
            throw server.explain(failure, operation)
        }
    }

    private func leaveMark() throws {
        guard ForeignTool.losesClusters(plan) else { return }
        try state.withLock { state in
            guard state.mark == nil else { return }
            let mark = RedoLog.draftPath(of: path)
            _ = try HostFolder().create(mark, beside: self)
            state.mark = mark
            // A power cut that takes the mark may leave the clusters.
            try HostFolder().sync(path.parent)
        }
    }
}
