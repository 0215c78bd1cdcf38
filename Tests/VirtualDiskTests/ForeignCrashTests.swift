import Abstractions
import BackendSupport
import Host
import Synchronization
import Testing

@testable import VirtualDisk

#if canImport(Glibc)
    import Glibc
#endif

/// Deaths, full disks and locks around images of QEMU's formats.
@Suite(.serialized) struct ForeignCrashTests {
    private let scratch: Scratch
    private let old = foreignContent()

    init() throws { scratch = try Scratch(inMemory: true) }

    /// A folder in which something happens right after the commit point.
    private final class Folder: SidecarFolder {
        private let host = HostFolder()
        private let atCommit: Mutex<(@Sendable () -> Void)?>

        init(_ atCommit: @escaping @Sendable () -> Void) { self.atCommit = Mutex(atCommit) }

        func create(_ path: HostPath, beside image: any ImageFile) throws -> any ImageFile {
            try host.create(path, beside: image)
        }
        func rename(_ path: HostPath, to target: HostPath) throws { try host.rename(path, to: target) }
        func remove(_ path: HostPath) throws { try host.remove(path) }
        func sync(_ folder: HostPath) throws {
            try host.sync(folder)
            atCommit.withLock { action in
                action?()
                action = nil
            }
        }
    }

    private func server(of disk: VirtualDisk) throws -> ForeignServer {
        try #require(disk.file as? ForeignFile).server
    }

    @Test(arguments: [ForeignKind.qcow2, .qcow2OverRaw, .vmdkSparse, .vmdkSplit])
    func `a server that dies before the commit leaves the old content`(_ kind: ForeignKind) async throws {
        let image = try await kind.make(scratch, from: scratch.file(old))
        let names = scratch.names()
        do {
            let disk = try VirtualDisk.open(image, .readWrite)
            let transaction = try disk.begin()
            try transaction.write(at: 0, bytes: pattern(1 << 20, seed: 70))
            try server(of: disk).process.kill()
            let error = #expect(throws: BackendError.self) { try transaction.commit() }
            #expect(error?.code == .crashed)
            #expect(error?.message.contains("qemu-nbd") == true)
        }
        #expect(try scratch.readByUs(image) == old)
        #expect(scratch.names() == names)
        try await checkByQEMU(image)
    }

    @Test(arguments: [ForeignKind.qcow2, .qcow2OverRaw, .vmdkSparse])
    func `a server that dies after the commit point leaves a log, which the next open applies`(_ kind: ForeignKind)
        async throws
    {
        for way in 0..<3 {
            let image = try await kind.make(scratch, from: scratch.file(old), "way\(way)")
            let names = scratch.names()
            var new = old
            new.replaceSubrange(0..<1 << 20, with: pattern(1 << 20, seed: 70))
            new.replaceSubrange(4 << 20..<5 << 20, with: pattern(1 << 20, seed: 71))
            do {
                let opened = try VirtualDisk.open(image, .readWrite)
                let file = opened.file
                let process = try server(of: opened).process
                let disk = try VirtualDisk(image, .readWrite, file, Folder { process.kill() })
                let transaction = try disk.begin()
                try transaction.write(at: 0, bytes: pattern(1 << 20, seed: 70))
                try transaction.write(at: 4 << 20, bytes: pattern(1 << 20, seed: 71))
                let error = #expect(throws: BackendError.self) { try transaction.commit() }
                #expect(error?.retry == .reopen)
            }
            #expect(HostFiles.exists(RedoLog.path(of: image.path)))
            if way == 0 { #expect(try VirtualDisk.recover(image)) }
            if way == 1 { _ = try VirtualDisk.open(image, .readWrite) }
            #expect(try scratch.readByUs(image) == new)
            #expect(scratch.names() == names)
            #expect(try await scratch.readByQEMU(image) == new)
            try await checkByQEMU(image)
        }
    }

    @Test(arguments: [nil, AccessMode.readOnly, .readWrite])
    func `clusters that a dead process has lost are given back by the next opening`(_ mode: AccessMode?) async throws {
        let image = try await ForeignKind.qcow2.make(scratch, from: scratch.file(old))
        // A cluster at the end that is counted, but has no place in the map: what a death between the two leaves.
        var bytes = try HostFiles.read(image.path)
        let block = Int(bytes.big64(Int(bytes.big64(48))))
        let cluster = bytes.count >> 16
        bytes.replaceSubrange(block + 2 * cluster..<block + 2 * cluster + 2, with: [0, 1])
        try HostFiles.write(bytes + [UInt8](repeating: 0, count: (cluster + 1) << 16 - bytes.count), to: image.path)
        try HostFiles.write([], to: HostPath(image.path.string + ".redo.dead-1-1"))
        let before = try await Tool.run("qemu-img", ["check", "-f", "qcow2", image.path.string])
        #expect(before.exit == .exited(3), "nothing was lost: \(before.text)")
        if let mode { _ = try VirtualDisk.open(image, mode) } else { #expect(try !VirtualDisk.recover(image)) }
        try await checkByQEMU(image)
        #expect(scratch.names() == ["disk.qcow2", "source.raw"])
    }

    @Test(arguments: [ForeignKind.qcow2, .vmdkFlat])
    func `a log of another image is not applied`(_ kind: ForeignKind) async throws {
        var content = old
        content[510] = 0x55
        content[511] = 0xaa
        let first = try await kind.make(scratch, from: scratch.file(content), "first")
        content[440] ^= 1
        let second = try await kind.make(scratch, from: scratch.file(content), "second")
        do {
            let opened = try VirtualDisk.open(first, .readWrite)
            let process = try server(of: opened).process
            let transaction = try VirtualDisk(first, .readWrite, opened.file, Folder { process.kill() }).begin()
            try transaction.write(at: 1 << 20, bytes: pattern(4096, seed: 70))
            #expect(throws: BackendError.self) { try transaction.commit() }
        }
        _ = try await Tool.check(
            "mv", [RedoLog.path(of: first.path).string, RedoLog.path(of: second.path).string])
        let error = #expect(throws: BackendError.self) { try VirtualDisk.open(second, .readWrite) }
        #expect(error?.code == .corrupt)
        #expect(error?.message.contains("belongs to another image") == true)
    }

    // MARK: - Locks

    @Test(arguments: [ForeignKind.qcow2, .vmdkSplit, .vmdkFlat])
    func `one writer excludes everybody, QEMU too`(_ kind: ForeignKind) async throws {
        let image = try await kind.make(scratch, from: scratch.file(old))
        let disk = try VirtualDisk.open(image, .readWrite)
        for mode in [AccessMode.readOnly, .readWrite] {
            let error = #expect(throws: BackendError.self) { try VirtualDisk.open(image, mode) }
            #expect(error?.code == .inUse)
        }
        let error = #expect(throws: BackendError.self) {
            try VirtualDisk.open(DiskImage(path: image.path, format: .raw), .readWrite)
        }
        #expect(error?.code == .inUse)
        let outcome = try await Tool.run(
            "qemu-io", ["-f", kind.format.rawValue, "-c", "write 0 512", image.path.string])
        #expect(outcome.exit != .exited(0))
        withExtendedLifetime(disk) {}
    }

    @Test(arguments: [ForeignKind.qcow2, .vmdkSplit, .qcow2OverQCOW2])
    func `an image that a QEMU has open, or the one below it, is refused`(_ kind: ForeignKind) async throws {
        let image = try await kind.make(scratch, from: scratch.file(old))
        let below = kind == .qcow2OverQCOW2 ? scratch.path("base.qcow2") : image.path
        let daemon = try ChildProcess(
            try #require(HostEnvironment.program("qemu-nbd")),
            ["-t", "-k", scratch.path("nbd").string, "--pid-file", scratch.path("pid").string, below.string],
            environment: HostEnvironment.all, output: .null, errors: .null)
        defer {
            daemon.signal(SIGKILL)
            _ = daemon.wait()
        }
        while !HostFiles.exists(scratch.path("pid")) { await Task.yield() }
        for mode in [AccessMode.readOnly, .readWrite] {
            let error = #expect(throws: BackendError.self) { try VirtualDisk.open(image, mode) }
            #expect(error?.code == .inUse)
            #expect(error?.message.contains("qemu-nbd") == true, "the holder is not named: \(error?.message ?? "")")
        }
    }

    @Test func `a staged read that fails is kept, and nothing is committed any more`() async throws {
        let image = try await ForeignKind.qcow2.make(scratch, from: scratch.file(old))
        let before = try HostFiles.read(image.path)
        let view = try StagedView(image, .readWrite)
        try Array("new".utf8).withUnsafeBytes { try view.write(at: 0, from: $0) }
        for pid in HostFiles.names(in: "/proc").compactMap({ Int32($0) }) {
            let command = (try? HostFiles.readText(HostPath("/proc/\(pid)/cmdline"))) ?? ""
            if command.contains("qemu-nbd"), command.contains(image.path.string) { kill(pid, SIGKILL) }
        }
        var buffer = [UInt8](repeating: 0, count: 4096)
        let error = #expect(throws: BackendError.self) {
            try buffer.withUnsafeMutableBytes { try view.read(at: 1 << 20, into: $0) }
        }
        #expect(view.failure == error)
        #expect(throws: BackendError.self) { try view.commit() }
        view.close()
        #expect(try HostFiles.read(image.path) == before)
    }

    // MARK: - Full disks

    @Test(
        .enabled(if: getuid() == 0, "only root may mount"), arguments: [ForeignKind.qcow2, .vmdkSparse, .qcow2OverRaw])
    func `a full disk is a clear error, and the image is as before`(_ kind: ForeignKind) async throws {
        let place = scratch.path("small")
        try HostFiles.makeDirectories(place, mode: 0o755)
        _ = try await Tool.check("mount", ["-t", "tmpfs", "-o", "size=24M", "none", place.string])
        do {
            let made = try await kind.make(scratch, from: scratch.file(old))
            _ = try await Tool.check(
                "sh", ["-c", "cp \(scratch.folder)/*.\(kind.format) \(scratch.folder)/base.* \(place) || true"])
            let image = DiskImage(path: place.appending(made.path.name), format: kind.format)
            let names = HostFiles.names(in: place)
            for step in 1...5 {
                do {
                    let transaction = try VirtualDisk.open(image, .readWrite).begin()
                    let fill = place.appending("filling")
                    _ = try await Tool.run("dd", ["if=/dev/zero", "of=\(fill)", "bs=1M", "count=64", "status=none"])
                    _ = try await Tool.check("truncate", ["-s", "-\(step << 19)", fill.string])
                    defer { try? HostFiles.removeTree(fill) }
                    let error = #expect(throws: BackendError.self) {
                        try transaction.write(at: 3 << 20, bytes: pattern(6 << 20, seed: 5))
                        try transaction.commit()
                    }
                    #expect(error?.code == .noSpace, "\(String(describing: error))")
                }
                #expect(try scratch.readByUs(image) == old)
                #expect(HostFiles.names(in: place) == names)
                try await checkByQEMU(image)
            }
        } catch {
            _ = try await Tool.run("umount", ["-l", place.string])
            throw error
        }
        _ = try await Tool.check("umount", [place.string])
    }
}
