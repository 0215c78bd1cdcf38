import Abstractions
import Host
import Testing

#if canImport(Glibc)
    import Glibc
#endif

/// A folder with an image, a mount point and a state folder of its own; nothing of it is left behind.
struct MountBench {
    let folder: HostPath
    var image: HostPath
    var point: HostPath { folder.appending("mnt") }
    var state: HostPath { folder.appending("state") }
    static let program = HostEnvironment.executableFolder.appending("anyvisor")
    static let hasFuse = access("/dev/fuse", R_OK | W_OK) == 0

    /// What a command left.
    struct Answer {
        var status: Int32
        var output: String
        var errors: String
    }

    /// Makes the folder, runs `body`, and removes everything whatever happens.
    static func with(_ name: String = "disk.raw", _ body: (MountBench) async throws -> Void) async throws {
        let folder = try RunScope.makeProcessFolder("mount-test")
        let bench = MountBench(folder: folder, image: folder.appending(name))
        try HostFiles.makeDirectories(bench.point)
        do {
            try await body(bench)
        } catch {
            await bench.clear()
            throw error
        }
        #expect(HostFiles.names(in: bench.state.appending("runs")).isEmpty)
        #expect(HostFiles.names(in: folder).filter { $0.contains(".redo") }.isEmpty)
        #expect(MountTable.mounts(below: folder).isEmpty)
        await bench.clear()
    }

    private func clear() async {
        for name in HostFiles.names(in: state.appending("runs")) {
            let file = RunScope(folder: state.appending("runs").appending(name)).mountServerFile
            guard let text = try? HostFiles.readText(file), let pid = Int32(text.prefix { $0 != "\n" }) else {
                continue
            }
            ProcessIdentity(pid: pid)?.signal(SIGKILL)
        }
        await onOwnThread { try? RunScope.removeProcessFolder(folder) }
    }

    /// Runs `anyvisor`, with the words of `before` in front of it.
    func run(_ arguments: String..., before: [String] = []) async throws -> Answer {
        var environment = HostEnvironment.all
        environment["ANYVISOR_STATE"] = state.string
        let words = before + [MountBench.program.string] + arguments
        let outcome = try await Tool.run(words[0], Array(words.dropFirst()), environment: environment)
        guard case .exited(let status) = outcome.exit else {
            throw BackendError(.crashed, "test", "anyvisor ended with \(outcome.exit)")
        }
        return Answer(status: status, output: outcome.text, errors: outcome.errors)
    }

    /// Mounts the image.
    func mount(_ more: String...) async throws {
        var arguments = ["mount", image.string, point.string] + more
        if image.fileExtension == "" { arguments += ["--format", "raw"] }
        let answer = try await Tool.run(
            MountBench.program.string, arguments,
            environment: HostEnvironment.all.merging(["ANYVISOR_STATE": state.string]) { $1 })
        try #require(answer.exit == .exited(0), "\(answer.errors)")
    }

    /// Unmounts the image.
    func unmount() async throws {
        let answer = try await run("unmount", point.string)
        try #require(answer.status == 0, "\(answer.errors)")
    }

    /// The process that serves the mount.
    func server() throws -> ProcessIdentity {
        let runs = state.appending("runs")
        let files = HostFiles.names(in: runs).map { RunScope(folder: runs.appending($0)).mountServerFile }
        let text = try HostFiles.readText(try #require(files.first { HostFiles.exists($0) }))
        return try #require(Int32(text.prefix { $0 != "\n" }).flatMap { ProcessIdentity(pid: $0) })
    }

    /// Makes a raw image whose every sector says where it is.
    func makeNumbered(bytes: Int) throws {
        var content = [UInt8](repeating: 0, count: bytes)
        for sector in 0..<(bytes + 511) / 512 {
            content[sector * 512] = UInt8(truncatingIfNeeded: sector)
            if sector * 512 + 1 < bytes { content[sector * 512 + 1] = UInt8(truncatingIfNeeded: sector >> 8) }
        }
        try HostFiles.write(content, to: image)
    }

    /// Writes a partition table with `sfdisk`.
    func partition(_ table: String) async throws {
        let lines = folder.appending("table")
        try HostFiles.write(Array(table.utf8), to: lines)
        _ = try await Tool.check("sh", ["-c", "sfdisk -q \(image) <\(lines)"])
    }
}

/// An open file of a mount, with what the kernel says to each call.
final class OpenFile {
    let descriptor: Int32
    private var isClosed = false

    /// Opens the file; the error's number is in `descriptor` as a negative one.
    init(_ path: HostPath, _ flags: Int32) {
        let opened = open(path.string, flags | O_CLOEXEC, 0o600)
        descriptor = opened < 0 ? -errno : opened
    }

    deinit { close() }

    /// The bytes at an offset.
    func bytes(at offset: Int, count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        let got = pread(descriptor, &bytes, count, off_t(offset))
        return Array(bytes.prefix(max(0, got)))
    }

    /// Writes; 0 or the error's number.
    func write(_ bytes: [UInt8], at offset: Int) -> Int32 {
        pwrite(descriptor, bytes, bytes.count, off_t(offset)) == bytes.count ? 0 : errno
    }

    /// 0 or the error's number.
    func sync() -> Int32 { fsync(descriptor) == 0 ? 0 : errno }

    /// 0 or the error's number.
    func resize(to size: Int) -> Int32 { ftruncate(descriptor, off_t(size)) == 0 ? 0 : errno }

    /// Closes it, once; 0 or the error's number.
    @discardableResult func close() -> Int32 {
        guard descriptor >= 0, !isClosed else { return 0 }
        isClosed = true
        return Glibc.close(descriptor) == 0 ? 0 : errno
    }
}
