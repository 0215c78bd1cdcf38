import Abstractions
import BackendSupport
import Host
import Testing

@testable import VirtualDisk

#if canImport(Glibc)
    import Glibc
#endif

/// Images that somebody else uses, and reading them all the same.
@Suite struct UseTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    private func image(_ format: ImageFormat, over base: DiskImage? = nil) throws -> DiskImage {
        let image = DiskImage(path: scratch.path("\(base == nil ? "disk" : "layer").\(format)"), format: format)
        if let base {
            try VirtualDisk.create(image, over: base, size: nil)
        } else {
            try VirtualDisk.create(image, size: .mib(8))
        }
        return image
    }

    private func stale(_ image: DiskImage) -> DiskImage {
        var image = image
        image.forceStale = true
        return image
    }

    private func refusal(_ image: DiskImage, _ mode: AccessMode) -> BackendError? {
        #expect(throws: BackendError.self) { try VirtualDisk.open(image, mode) }
    }

    @Test(arguments: [ImageFormat.raw, .vdi, .vhd, .qcow2])
    func `what may be stale is read beside a writer, and not written`(_ format: ImageFormat) throws {
        let image = try image(format)
        let writer = try VirtualDisk.open(image, .readWrite)
        let transaction = try writer.begin()
        try transaction.write(at: 1 << 20, bytes: pattern(70_000, seed: 3))
        try transaction.commit()
        #expect(refusal(image, .readOnly)?.code == .inUse)
        let reader = try VirtualDisk.open(stale(image), .readOnly)
        #expect(try reader.content.bytes(at: 1 << 20, count: 70_000) == pattern(70_000, seed: 3))
        let error = refusal(stale(image), .readWrite)
        #expect(error?.code == .invalidArgument)
        #expect(error?.message.contains("--force-stale") == true)
        withExtendedLifetime(writer) {}
    }

    /// The whole image, our byte and QEMU's for writing.
    @Test(arguments: [(ImageFormat.raw, off_t(0), off_t(0)), (.qcow2, 300, 1), (.qcow2, 101, 1)])
    func `a lock that outlives its holder's descriptors for a moment is waited for`(
        _ format: ImageFormat, _ start: off_t, _ length: off_t
    ) throws {
        let image = try image(format)
        // A mapping keeps the open file, and so its lock, when its descriptor is closed: what a dying process looks like.
        let descriptor = open(image.path.string, O_RDWR | O_CLOEXEC)
        var request = flock()
        request.l_type = Int16(F_WRLCK)
        request.l_start = start
        request.l_len = length
        try #require(fcntl(descriptor, FileLock.setLock, &request) == 0)
        let mapping = mmap(nil, 4096, PROT_READ, MAP_SHARED, descriptor, 0)
        close(descriptor)
        try #require(mapping != MAP_FAILED)
        let address = UInt(bitPattern: mapping)
        startThread {
            usleep(100_000)
            munmap(UnsafeMutableRawPointer(bitPattern: address), 4096)
        }
        #expect(throws: Never.self) { try VirtualDisk.open(image, .readWrite) }
    }

    @Test func `what may be stale is read through the parent that somebody writes to`() throws {
        let base = try image(.vdi)
        let layer = try image(.vdi, over: base)
        let writer = try PosixFile(base.path, O_RDWR)
        try ImageLock.take(writer, .readWrite)
        #expect(refusal(layer, .readOnly)?.code == .inUse)
        #expect(try VirtualDisk.open(stale(layer), .readOnly).isLayer)
        withExtendedLifetime(writer) {}
    }

    @Test func `a log is not applied to what may be stale, but read through`() throws {
        let image = try image(.vdi)
        let log = RedoLog.path(of: image.path)
        for calls in 0..<100 where !HostFiles.exists(log) {
            let transaction = try FragileHost(.death, after: calls).open(image).begin()
            try? transaction.write(at: 0, bytes: [8])
            try? transaction.commit()
        }
        let before = try HostFiles.read(image.path)
        #expect(try VirtualDisk.open(stale(image), .readOnly).content.bytes(at: 0, count: 1) == [8])
        #expect(try HostFiles.read(image.path) == before)
        #expect(HostFiles.exists(log))
    }

    // MARK: - VirtualBox, played by a shell of its name

    /// Holds the image open until the body has ended.
    private func withVirtualBox(_ redirection: String, _ image: DiskImage, _ body: (Int32) throws -> Void) async throws
    {
        let program = scratch.path("VBoxHeadless")
        if !HostFiles.exists(program) {
            _ = try await Tool.check("cp", [try #require(HostEnvironment.program("bash")).string, program.string])
        }
        let ready = scratch.path("ready")
        let script = "exec 3\(redirection)\"$0\"; : >\"$1\"; kill -STOP $$"
        let machine = try ChildProcess(
            program, ["-c", script, image.path.string, ready.string],
            environment: HostEnvironment.all, output: .null, errors: .null)
        defer {
            machine.signal(9)
            _ = machine.wait()
        }
        while !HostFiles.exists(ready) { await Task.yield() }
        try HostFiles.removeTree(ready)
        try body(machine.pid)
    }

    @Test(arguments: [ImageFormat.vdi, .vhd])
    func `an image that VirtualBox writes to is refused, and read when it may be stale`(_ format: ImageFormat)
        async throws
    {
        let image = try image(format)
        try await withVirtualBox("<>", image) { (pid: Int32) throws in
            for mode in [AccessMode.readOnly, .readWrite] {
                let error = refusal(image, mode)
                #expect(error?.code == .inUse)
                #expect(error?.message.contains("process \(pid) (VBoxHeadless)") == true, "\(error?.message ?? "")")
            }
            #expect(try VirtualDisk.open(stale(image), .readOnly).content.size == 8 << 20)
        }
        #expect(throws: Never.self) { try VirtualDisk.open(image, .readWrite) }
    }

    @Test func `a layer is refused while VirtualBox writes to its parent`() async throws {
        let base = try image(.vdi)
        let layer = try image(.vdi, over: base)
        try await withVirtualBox("<>", base) { (_: Int32) throws in
            for mode in [AccessMode.readOnly, .readWrite] { #expect(refusal(layer, mode)?.code == .inUse) }
            #expect(try VirtualDisk.open(stale(layer), .readOnly).isLayer)
        }
    }

    @Test func `what VirtualBox only reads is read beside it, and not written`() async throws {
        let image = try image(.vdi)
        try await withVirtualBox("<", image) { (_: Int32) throws in
            #expect(refusal(image, .readWrite)?.code == .inUse)
            #expect(try VirtualDisk.open(image, .readOnly).content.size == 8 << 20)
        }
    }

    @Test func `the parts of a flat VMDK that VirtualBox writes to are in use`() async throws {
        let image = try await ForeignKind.vmdkFlat.make(scratch, from: scratch.raw().path)
        let part = scratch.path(try #require(scratch.names().first { $0.hasSuffix("-flat.vmdk") }))
        try await withVirtualBox("<>", DiskImage(path: part, format: .raw)) { (_: Int32) throws in
            for mode in [AccessMode.readOnly, .readWrite] { #expect(refusal(image, mode)?.code == .inUse) }
            #expect(try VirtualDisk.open(stale(image), .readOnly).content.size == 8 << 20)
        }
    }
}
