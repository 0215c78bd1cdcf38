import Abstractions
import BackendSupport
import Host

@testable import VBoxManageBackend

/// A folder for one test and a backend over it; both go when the test ends.
struct MachineBench {
    let folder: HostPath
    let backend: VBoxManageHypervisor

    static func run(_ body: (MachineBench) async throws -> Void) async throws {
        let folder = try RunScope.makeProcessFolder("vboxmanage-test")
        defer { try? HostFiles.removeTree(folder) }
        let values = try OptionValues(
            ["root": folder.appending("root").string], declared: VBoxManageBackend.descriptor.options)
        let bench = MachineBench(folder: folder, backend: VBoxManageHypervisor(values))
        do {
            try await body(bench)
        } catch {
            await bench.clear()
            throw error
        }
        await bench.clear()
    }

    private func clear() async {
        for number in 1...2 { try? await backend.machine(name(number))?.destroy() }
        await backend.close()
    }

    /// A name that no other test uses.
    func name(_ number: Int) -> MachineID {
        MachineID("anyvisor-vbtest-\(folder.name.split(separator: ".").last ?? "x")-\(number)")
    }

    /// An image with this content.
    func disk(_ name: String, _ bytes: [UInt8], _ format: ImageFormat = .raw) async throws -> DiskImage {
        let raw = folder.appending("\(name).raw")
        try HostFiles.write(bytes, to: raw)
        guard format != .raw else { return DiskImage(path: raw, format: .raw) }
        let image = folder.appending("\(name).\(format)")
        let kind = format == .vhd ? "vpc" : format.rawValue
        _ = try await Tool.check("qemu-img", ["convert", "-f", "raw", "-O", kind, raw.string, image.string])
        return DiskImage(path: image, format: format)
    }

    func machine(
        _ number: Int, _ system: DiskImage, readOnly: Bool = false, io: DiskImage? = nil
    ) async throws -> any Machine {
        var spec = MachineSpec(id: name(number), memory: .mib(32))
        spec.disks = [DiskAttachment(system, role: .system, readOnly: readOnly)]
        if let io { spec.disks.append(DiskAttachment(io, role: .io)) }
        return try await backend.create(spec)
    }

    func uuid(_ machine: any Machine) -> String { (machine as? VBoxManageMachine)?.record.uuid ?? "" }
    func folderOf(_ machine: any Machine) -> HostPath { (machine as? VBoxManageMachine)?.record.folder.path ?? "/" }

    /// Starts a machine whose guest powers itself off, and waits for that.
    func runToEnd(_ machine: any Machine) async throws {
        let events = machine.events()
        try await machine.start()
        guard await MachineBench.wait(for: .state(.stopped), in: events) else {
            throw BackendError(.timeout, "test", "the guest of '\(machine.id)' does not end")
        }
    }

    /// Whether the event comes within a minute.
    static func wait(for wanted: MachineEvent, in events: AsyncStream<MachineEvent>) async -> Bool {
        await withTaskGroup(of: Bool.self) { group in
            group.addTask {
                for await event in events where event == wanted { return true }
                return false
            }
            group.addTask {
                try? await Task.sleep(for: .seconds(60))
                return false
            }
            defer { group.cancelAll() }
            return await group.next() ?? false
        }
    }

    /// The first byte of a raw disk's second sector.
    func count(_ disk: DiskImage) throws -> UInt8 { try HostFiles.read(disk.path)[512] }

    /// A disk of 1 MiB with this boot sector.
    private static func disk(_ code: [UInt8]) -> [UInt8] {
        let sector = code + [UInt8](repeating: 0, count: 510 - code.count) + [0x55, 0xaa]
        return sector + [UInt8](repeating: 0, count: (1 << 20) - 512)
    }

    /// A guest that stands still: `sti; hlt; jmp`.
    static let hang = disk([0xfb, 0xf4, 0xeb, 0xfc])

    /// A guest that adds one to the first byte of the second sector of each disk, then powers off:
    /// ```
    ///       cli; xor ax,ax; mov ds,ax; mov es,ax; mov ss,ax; mov sp,7c00h; mov bx,8000h; mov dl,80h
    /// next: mov ax,0201h; mov cx,2; mov dh,0; int 13h; jc off     read sector 2
    ///       inc byte [8000h]
    ///       mov ax,0301h; mov cx,2; mov dh,0; int 13h             write it
    ///       inc dl; cmp dl,82h; jne next
    /// off:  APM as in `ProofSector`
    /// ```
    static let counter = disk(
        [
            0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, 0xbb, 0x00, 0x80, 0xb2, 0x80,
            0xb8, 0x01, 0x02, 0xb9, 0x02, 0x00, 0xb6, 0x00, 0xcd, 0x13, 0x72, 0x15, 0xfe, 0x06, 0x00, 0x80,
            0xb8, 0x01, 0x03, 0xb9, 0x02, 0x00, 0xb6, 0x00, 0xcd, 0x13, 0xfe, 0xc2, 0x80, 0xfa, 0x82, 0x75, 0xdf,
        ] + [
            0xb8, 0x01, 0x53, 0x31, 0xdb, 0xcd, 0x15, 0xb8, 0x0e, 0x53, 0x31, 0xdb, 0xb9, 0x02, 0x01, 0xcd, 0x15,
            0xb8, 0x07, 0x53, 0xbb, 0x01, 0x00, 0xb9, 0x03, 0x00, 0xcd, 0x15, 0xf4, 0xeb, 0xfd,
        ])
}
