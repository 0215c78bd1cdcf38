import Abstractions
import AnyvisorKit
import Filters
import Host
import Synchronization
import Testing

#if canImport(Glibc)
    import Glibc
#endif

/// The library as a program of somebody else uses it.
@Suite struct DiskOperationsTests {
    @Test func `files and trees go in and out, and the report says by whom`() async throws {
        try await KitBench.with { bench in
            let file = try bench.write("report.txt", "all is well")
            try bench.write("tree/one", "1")
            try bench.write("tree/deep/two", "22")
            symlink("deep/two", bench.folder.appending("tree/link").string)
            let disk = bench.disk()
            let put = try await disk.upload(file.string, to: "/")
            #expect(put.backend == "direct" && put.replaced.isEmpty && put.leftover == nil)
            #expect(put.copy.files == 1 && put.copy.bytes == 11)
            try await disk.upload(bench.folder.appending("tree").string, to: "/new")
            let got = try await disk.download("/new", to: bench.folder.appending("back").string)
            #expect(got.backend == "direct" && got.copy.files == 2 && got.copy.bytes == 3)
            let difference = try await bench.run("diff", ["-r", "--no-dereference", "tree", "back"])
            #expect(difference.exit == .exited(0), "\(difference.text)")
            // An existing folder holds what comes.
            try await disk.download("/report.txt", to: bench.folder.appending("back").string)
            #expect(try HostFiles.readText(bench.folder.appending("back/report.txt")) == "all is well")
        }
    }

    @Test func `a backend that fails is replaced, and the report has its error`() async throws {
        try await KitBench.with { bench in
            try bench.write("plugins/broken/plugin.sh", "#!/bin/sh\nexit 3\n", mode: 0o755)
            try bench.manifest("broken", program: "plugin.sh")
            try bench.manifest("direct", program: "anyvisor-direct")
            let file = try bench.write("word", "word")
            let disk = bench.disk(backends: ["broken", "direct"], plugins: bench.folder.appending("plugins"))
            let report = try await disk.upload(file.string, to: "/word")
            #expect(report.backend == "direct" && report.copy.files == 1)
            #expect(report.replaced.map(\.backend) == ["broken"])
            #expect(report.replaced.first?.code == .crashed)
            let alone = bench.disk(backends: ["broken"], plugins: bench.folder.appending("plugins"))
            let error = await #expect(throws: BackendError.self) { try await alone.upload(file.string, to: "/other") }
            #expect(error?.code == .crashed && error?.backend == "broken")
            #expect(try await bench.anyvisor("disk", "cat", bench.image.string, "/word") == "word")
        }
    }

    @Test func `format, volume, layer and parent folders are those of the command`() async throws {
        try await KitBench.with { bench in
            let layer = bench.folder.appending("elsewhere/one.vdi")
            try HostFiles.makeDirectories(layer.parent)
            try await bench.anyvisor("disk", "create", layer.string, "--parent", bench.image.string)
            let word = try bench.write("word", "upper")
            let over = DiskOperations(
                layer.string, format: .vdi, volume: .whole, parentFolders: [bench.folder.string],
                state: bench.state.string)
            try await over.upload(word.string, to: "/word")
            let named = DiskOperations(bench.image.string, layer: layer.string, state: bench.state.string)
            try await named.download("/word", to: bench.folder.appending("got").string)
            #expect(try HostFiles.readText(bench.folder.appending("got")) == "upper")
            let other = DiskOperations(bench.image.string, volume: "p7", state: bench.state.string)
            let error = await #expect(throws: BackendError.self) {
                try await other.download("/", to: bench.folder.appending("none").string)
            }
            #expect(error?.code == .invalidArgument && error?.message.contains("no volume 'p7'") == true)
        }
    }

    @Test func `the process that calls stays as it is, during the call and after it`() async throws {
        try await KitBench.with { bench in
            let file = try bench.write("big", String(repeating: "0123456789abcdef", count: 1 << 19))
            let before = ProcessState()
            let during = Mutex<[ProcessState]>([])
            let sink = ProgressSink { _ in during.withLock { $0.append(ProcessState()) } }
            try await bench.disk().upload(file.string, to: "/big", progress: sink)
            try await bench.disk().download("/big", to: bench.folder.appending("back").string, progress: sink)
            let seen = during.withLock { $0 }
            #expect(!seen.isEmpty)
            #expect(seen.allSatisfy { $0 == before })
            #expect(ProcessState() == before)
        }
    }

    @Test func `a cancelled call ends its backend and leaves nothing`() async throws {
        try await KitBench.with { bench in
            try bench.muteDisk("mute")
            let file = try bench.write("word", "word")
            let content = try HostFiles.read(bench.image)
            let disk = bench.disk(backends: ["mute"], plugins: bench.folder.appending("plugins"))
            let work = Task { try await disk.upload(file.string, to: "/word") }
            let note = bench.folder.appending("plugins/mute/started")
            #expect(await onOwnThread { eventually(within: .seconds(20)) { (HostFiles.size(note) ?? 0) > 1 } })
            let started = try HostFiles.readText(note)
            let pid = try #require(Int32(started.filter(\.isNumber)))
            work.cancel()
            await #expect(throws: CancellationError.self) { try await work.value }
            #expect(ProcessIdentity(pid: pid) == nil)
            #expect(try HostFiles.read(bench.image) == content)
        }
    }

    @Test func `what is missing is named`() async throws {
        try await KitBench.with { bench in
            let missing = DiskOperations(bench.folder.appending("no.vdi").string, state: bench.state.string)
            let image = await #expect(throws: BackendError.self) { try await missing.download("/", to: "/tmp/x") }
            #expect(image?.code == .notFound && image?.message.contains("no.vdi") == true)
            let source = await #expect(throws: BackendError.self) {
                try await bench.disk().upload("/nonexistent/source", to: "/")
            }
            #expect(source?.code == .notFound && source?.message.contains("/nonexistent/source") == true)
            let backend = await #expect(throws: BackendError.self) {
                try await bench.disk(backends: ["dircet"]).upload(bench.image.string, to: "/")
            }
            #expect(backend?.message.contains("did you mean 'direct'") == true)
            let none = await #expect(throws: BackendError.self) {
                try await bench.disk(plugins: bench.state).upload(bench.image.string, to: "/")
            }
            #expect(none?.code == .unavailable && none?.message.contains("make install") == true)
        }
    }
}

/// What a library must not change of its process.
private struct ProcessState: Equatable, CustomStringConvertible {
    let variables = HostEnvironment.all
    let folder = HostFiles.absolute(".")
    let mask = (try? HostFiles.readText("/proc/self/status"))?.split(separator: "\n").first { $0.hasPrefix("Umask") }
    let signals = [SIGHUP, SIGINT, SIGTERM, SIGPIPE, SIGCHLD].map { number in
        var action = sigaction()
        sigaction(number, nil, &action)
        return unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self)
    }

    var description: String {
        "folder \(folder), \(mask ?? "no mask"), handlers \(signals), \(variables.count) variables"
    }
}
