import Abstractions
import Host
import Testing

@testable import LibvirtBackend

#if canImport(Glibc)
    import Glibc
#endif

@Suite("Xen")
struct XenTests {
    private func withFolder(_ body: (HostPath) async throws -> Void) async throws {
        let folder = try RunScope.makeProcessFolder("xen-test")
        defer { try? HostFiles.removeTree(folder) }
        try await body(folder)
    }

    @Test("a host without Xen is told so, with the remedy")
    func absent() async throws {
        try await withFolder { folder in
            let type = folder.appending("type")
            let absent = LibvirtDialect.controlDomainFinding(folder.appending("capabilities"), type: type)
            #expect(absent.status == .bad && absent.detail == "this host does not run Xen")
            #expect(absent.remedy?.contains("xen-system-amd64") == true)
            try HostFiles.write(Array("xen\n".utf8), to: type)
            let unmounted = LibvirtDialect.controlDomainFinding(folder.appending("capabilities"), type: type)
            #expect(unmounted.status == .bad && unmounted.detail == "xenfs is not mounted")
            #expect(unmounted.remedy == "mount -t xenfs xenfs \(folder)")
        }
    }

    @Test(
        "only the control domain is good", arguments: [("control_d\n", true), ("", false), ("not_control_d\n", false)])
    func control(text: String, isGood: Bool) async throws {
        try await withFolder { folder in
            let file = folder.appending("capabilities")
            try HostFiles.write(Array(text.utf8), to: file)
            let finding = LibvirtDialect.controlDomainFinding(file)
            #expect((finding.status == .good) == isGood)
            #expect(isGood || finding.remedy != nil)
        }
    }

    @Test("a requirement that is not met is the answer to every call, and nothing is connected to")
    func unmet() async throws {
        var dialect = LibvirtDialect.xen
        dialect.requirements = { [Finding("xenfs", .bad, "is not here", remedy: "boot Xen")] }
        let backend = LibvirtHypervisor(dialect, try OptionValues([:], declared: dialect.options))
        func expectUnavailable(_ body: () async throws -> Void) async {
            await #expect { try await body() } throws: { error in
                let known = error as? BackendError
                return known?.code == .unavailable && known?.message == "xenfs: is not here; boot Xen"
            }
        }
        await expectUnavailable { _ = try await backend.info() }
        await expectUnavailable { _ = try await backend.machines(ownedBy: OwnerTag("anyvisor-")) }
        let findings = try await backend.check(.proof)
        #expect(findings == [Finding("xenfs", .bad, "is not here", remedy: "boot Xen")])
        await backend.close()
    }

    @Test("a connection to another kind of hypervisor is refused, not asked for machines that it cannot have")
    func otherDriver() async throws {
        for (dialect, uri) in [(LibvirtDialect.xen, "qemu+ssh://host/system"), (.kvm, "xen:///system")] {
            let backend = LibvirtHypervisor(dialect, try OptionValues(["uri": uri], declared: dialect.options))
            await #expect {
                _ = try await backend.machines(ownedBy: OwnerTag("anyvisor-"))
            } throws: { error in
                let known = error as? BackendError
                return known?.code == .invalidArgument && known?.message.contains("'\(uri)' is no connection") == true
            }
            await backend.close()
        }
    }

    @Test("machines of another host need nothing of this one")
    func remote() throws {
        let values = try OptionValues(["uri": "xen+ssh://host/system"], declared: LibvirtDialect.xen.options)
        #expect(LibvirtHypervisor(.xen, values).requirements.isEmpty)
    }

    @Test("what an earlier start printed is read before what this one prints")
    func earlier() async throws {
        try await withFolder { folder in
            let console = folder.appending("console.log")
            let earlier = EarlierConsole(console: console)
            try earlier.keep()
            try HostFiles.write(Array("one".utf8), to: console)
            try earlier.keep()
            #expect(HostFiles.size(console) == 0)
            try HostFiles.write(Array("two".utf8), to: console)
            try earlier.keep()
            try HostFiles.write(Array("three".utf8), to: console)
            var (text, offset): ([UInt8], Int64) = ([], 0)
            while case let next = try earlier.read(offset, 4), !next.isEmpty {
                text += next
                offset += Int64(next.count)
            }
            #expect(String(decoding: text, as: UTF8.self) == "onetwothree")
            earlier.remove()
            #expect(HostFiles.names(in: folder) == ["console.log"])
        }
    }

    @Test("what comes on a terminal goes behind what the file holds, until the other side hangs up")
    func terminal() async throws {
        try await withFolder { folder in
            let file = folder.appending("console.log")
            try HostFiles.write(Array("before ".utf8), to: file)
            // A pipe with a name hangs up as a terminal does.
            let pipe = folder.appending("terminal")
            #expect(mkfifo(pipe.string, 0o600) == 0)
            let master = open(pipe.string, O_RDWR)
            ConsoleTerminal(terminal: pipe, file: file).follow {}
            try HostFiles.writeAll(master, Array("after\n".utf8), pipe)
            let end = ContinuousClock.now + .seconds(20)
            while (HostFiles.size(file) ?? 0) < 13, ContinuousClock.now < end { await Task.yield() }
            close(master)
            #expect(try HostFiles.readText(file) == "before after\n")
        }
    }

    @Test("a user network is refused when the machine is made, with the remedy")
    func userNetwork() async throws {
        try await TestBench.run(.xen) { bench in
            var spec = MachineSpec(id: "anyvisor-xen", memory: .mib(32))
            spec.network = .user
            spec.disks = [DiskAttachment(DiskImage(path: bench.folder.appending("disk"), format: .raw), role: .system)]
            await #expect {
                _ = try await bench.backend.create(spec)
            } throws: {
                let error = $0 as? BackendError
                return error?.code == .unsupported && error?.message.contains("leave `network` out") == true
            }
        }
    }
}
