import Abstractions
import BackendSupport
import Host
import Testing

@testable import LibvirtBackend

/// A folder for one test and a backend over it; both go when the test ends.
struct TestBench {
    let folder: HostPath
    let backend: LibvirtHypervisor

    static func run(
        _ dialect: LibvirtDialect, _ options: [String: String] = [:], _ body: (TestBench) async throws -> Void
    ) async throws {
        let folder = try RunScope.makeProcessFolder("libvirt-test")
        defer { try? HostFiles.removeTree(folder) }
        let values = try OptionValues(options, declared: dialect.options)
        let bench = TestBench(folder: folder, backend: LibvirtHypervisor(dialect, values))
        do {
            try await body(bench)
        } catch {
            await bench.clear()
            throw error
        }
        await bench.clear()
    }

    private func clear() async {
        // Another suite has machines in this process too.
        for summary in (try? await backend.machines(ownedBy: OwnerTag(name.rawValue))) ?? [] {
            try? await backend.machine(summary.id)?.destroy()
        }
        await backend.close()
    }

    /// A name that no other test uses.
    var name: MachineID { MachineID("anyvisor-lvtest-\(folder.name.split(separator: ".").last ?? "x")") }

    /// A disk whose first sector holds this code.
    func disk(_ name: String, code: [UInt8]) throws -> HostPath {
        let path = folder.appending(name)
        let rest = [UInt8](repeating: 0, count: 510 - code.count) + [0x55, 0xaa]
        try HostFiles.write(code + rest + [UInt8](repeating: 0, count: (1 << 20) - 512), to: path)
        return path
    }

    func spec(_ disks: [HostPath]) -> MachineSpec {
        MachineSpec(
            id: name, memory: .mib(32),
            disks: disks.enumerated().map {
                DiskAttachment(
                    DiskImage(path: $0.element, format: .raw), role: $0.offset == 0 ? .system : .io)
            },
            consoleLog: folder.appending("console.log"))
    }
}

/// Boot sectors in 16-bit code.
enum Sector {
    /// `sti; hlt; jmp -3`: waits for ever and leaves the processor alone.
    static let hang: [UInt8] = [0xfb, 0xf4, 0xeb, 0xfd]
    /// `jmp f000:fff0`, the processor's reset vector by way of the BIOS: starts the machine anew.
    static let reset: [UInt8] = [0xea, 0xf0, 0xff, 0x00, 0xf0]
}

/// Reads events until one is wanted, or the stream ends, or time is up.
func wait(
    for wanted: MachineEvent, in events: AsyncStream<MachineEvent>, within limit: Duration = .seconds(30)
) async -> Bool {
    await withTaskGroup(of: Bool.self) { group in
        group.addTask {
            for await event in events where event == wanted { return true }
            return false
        }
        group.addTask {
            try? await Task.sleep(for: limit)
            return false
        }
        defer { group.cancelAll() }
        return await group.next() ?? false
    }
}
