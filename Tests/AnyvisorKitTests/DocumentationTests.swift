import Abstractions
import AnyvisorKit
import Host
import Testing

#if canImport(Glibc)
    import Glibc
#endif

/// The code that the documentation shows is compiled and run.
@Suite(.serialized) struct DocumentationTests {
    @Test func `each block is one of the kinds that are run here, and the README has a program`() {
        for block in DocumentedCode.all {
            #expect(
                [block.isManifest, block.isPlugin, block.isMachine, block.isProgram].count { $0 } == 1,
                "\(block.testDescription): nobody runs it")
        }
        #expect(DocumentedCode.all.contains { $0.file == "README.md" && $0.isProgram })
        #expect(DocumentedCode.all.contains { $0.file == "README.md" && $0.isManifest })
    }

    @Test(arguments: DocumentedCode.all.filter(\.isProgram))
    func `a program compiles, copies in and out of a real image, and says and leaves nothing`(
        _ block: DocumentedCode
    ) async throws {
        try await withProgram(block) { bench, program in
            let outcome = try await bench.run(program.string, [])
            #expect(outcome.exit == .exited(0), "\(outcome.errors)")
            #expect(outcome.text.isEmpty && outcome.errors.isEmpty, "\(outcome.errors)")
            #expect(try HostFiles.readText(bench.folder.appending("hostname")) == "machine\n")
            #expect(try await bench.anyvisor("disk", "cat", "machine.vdi", "/root/report.txt") == "all is well")
            let names = Set(HostFiles.names(in: bench.folder))
            #expect(names == ["etc", "hostname", "machine.vdi", "program", "report.txt", "state"])
        }
    }

    @Test(arguments: DocumentedCode.all.filter(\.isMachine))
    func `a machine is made, runs, goes back to its snapshot and stops, and says nothing`(
        _ block: DocumentedCode
    ) async throws {
        try await KitBench.with { bench in
            // A boot sector that waits for ever: sti; hlt; jmp -3
            var sector = [UInt8](repeating: 0, count: 1 << 20)
            sector.replaceSubrange(0..<4, with: [0xfb, 0xf4, 0xeb, 0xfd])
            sector.replaceSubrange(510..<512, with: [0x55, 0xaa])
            try HostFiles.write(sector, to: bench.folder.appending("box.raw"))
            let converted = try await bench.run("qemu-img", ["convert", "-O", "qcow2", "box.raw", "box.qcow2"])
            try #require(converted.exit == .exited(0), "\(converted.errors)")
            let program = try await block.compiled(in: bench)
            let outcome = try await bench.run(program.string, [])
            #expect(outcome.exit == .exited(0), "\(outcome.errors)")
            #expect(outcome.text.isEmpty && outcome.errors.isEmpty, "\(outcome.errors)")
            #expect(try await bench.anyvisor("vm", "state", "box") == "stopped\n")
            #expect(try await bench.anyvisor("snapshot", "list", "box").contains("clean *"))
            try await bench.anyvisor("vm", "destroy", "box")
        }
    }

    @Test(arguments: ["redo", "path", "path:2"]) func `reap clears up after a program that was killed`(
        _ record: String
    ) async throws {
        let block = try #require(DocumentedCode.all.first { $0.isProgram })
        try await withProgram(block) { bench, program in
            let child = try ChildProcess(
                program, [], environment: bench.environment.merging(["ANYVISOR_HOLD": record]) { $1 },
                folder: bench.folder, output: .null, errors: .null)
            let runs = bench.state.appending("runs")
            let isHeld = await onOwnThread {
                eventually(within: .seconds(60)) {
                    HostFiles.names(in: runs).contains { HostFiles.exists(runs.appending($0).appending("held")) }
                }
            }
            kill(child.pid, SIGKILL)
            #expect(await onOwnThread { child.wait() } == .signaled(SIGKILL))
            try #require(isHeld)
            let run = try #require(HostFiles.names(in: runs).first)
            try await bench.anyvisor("reap")
            #expect(HostFiles.names(in: runs).isEmpty)
            #expect(ProcessIdentity.all(ofRun: run).isEmpty)
            #expect(HostFiles.names(in: bench.folder).allSatisfy { !$0.hasPrefix(".anyvisor-part") })
            #expect(try await bench.anyvisor("disk", "cat", "machine.vdi", "/etc/hostname") == "machine\n")
        }
    }

    @Test(arguments: DocumentedCode.all.filter(\.isPlugin))
    func `a plugin compiles and serves a real image`(_ block: DocumentedCode) async throws {
        try await withProgram(block) { bench, program in
            try bench.manifest("direct", program: "snippet")
            rename(program.string, bench.folder.appending("plugins/direct/snippet").string)
            let disk = bench.disk(backends: ["direct"], plugins: bench.folder.appending("plugins"))
            try await disk.upload(bench.folder.appending("report.txt").string, to: "/root/")
            #expect(try await bench.anyvisor("disk", "cat", "machine.vdi", "/root/report.txt") == "all is well")
        }
    }

    @Test(arguments: DocumentedCode.all.filter(\.isManifest))
    func `a Package.swift is read, and asks for a product that there is`(_ block: DocumentedCode) async throws {
        try await KitBench.with { bench in
            try bench.write("package/Package.swift", block.text)
            let outcome = try await bench.run("swift", ["package", "--package-path", "package", "dump-package"])
            try #require(outcome.exit == .exited(0), "\(outcome.errors)")
            #expect(outcome.text.contains(#""AnyvisorKit""#))
            let own = try HostFiles.readText(KitBench.repository.appending("Package.swift"))
            #expect(own.contains(#".library(name: "AnyvisorKit""#))
        }
    }

    /// Compiles the block beside an image that has what the block speaks of.
    private func withProgram(
        _ block: DocumentedCode, _ body: (KitBench, HostPath) async throws -> Void
    ) async throws {
        try await KitBench.with { bench in
            try bench.write("report.txt", "all is well")
            try bench.write("etc/hostname", "machine\n")
            try await bench.disk().upload(bench.folder.appending("etc").string, to: "/etc")
            try await bench.anyvisor("disk", "mkdir", "machine.vdi", "/root")
            try await body(bench, try await block.compiled(in: bench))
        }
    }
}
