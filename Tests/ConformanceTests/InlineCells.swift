import Abstractions
import ConformanceKit
import DirectBackend
import GuestFSBackend
import Host
import LibvirtBackend
import MemoryBackend
import Testing
import VDFuseBackend

/// The cells that run inside this process; those in a plugin's process run by `anyvisor conformance`.
@Suite(.serialized) struct InlineCells {
    /// The project's folder: tests are run from there.
    static let project = HostFiles.absolute(HostPath(#filePath)).parent.parent.parent

    /// Whether every case runs over every kind of image; otherwise what CI has time for.
    static let isFull = HostEnvironment.variable("ANYVISOR_CONFORMANCE") == "full"
    /// In the full matrix, only these kinds of images, for one cell by `--filter`; nil: all.
    static let kinds = HostEnvironment.variable("ANYVISOR_FORMATS")?.split(separator: ",").map(String.init)

    private func expectSound(_ cell: ConformanceCell, filter: String? = nil, formats: [String]? = nil) async throws {
        let folder = try RunScope.makeProcessFolder("conformance")
        defer { try? HostFiles.removeTree(folder) }
        let settings = ConformanceSettings(
            folder: folder, guestFolder: Self.project.appending("guest"), filter: filter,
            formats: Self.isFull ? Self.kinds : formats, isFull: Self.isFull)
        let report = await ConformanceSuite.run(cell, settings)
        print("\(cell.name): \(report.passed) passed, \(report.failures.count) failed, \(report.skips.count) skipped")
        #expect(report.skipped == nil)
        for failure in report.failures { Issue.record("\(cell.name): \(failure.name): \(failure.reason)") }
        if filter == nil { #expect(report.passed >= 60) }
    }

    @Test("the memory hypervisor keeps its contract")
    func memoryHypervisor() async throws { try await expectSound(ConformanceCell(MemoryBackend.hypervisor, .inline)) }

    @Test("the memory hypervisor keeps its contract with a guest that really reads and writes the disks")
    func memoryHypervisorWithGuest() async throws {
        let guest = Self.project.appending("Tests/Fixtures/mini-guest")
        try await expectSound(ConformanceCell(MemoryBackend.hypervisor, .inline, options: ["guest": guest.string]))
    }

    @Test("direct keeps its contract inside this process")
    func direct() async throws {
        // A layer has all of its format; the bases alone run in the plugin's process.
        try await expectSound(
            ConformanceCell(DirectBackend.descriptor, .inline),
            formats: ["raw", "vdi-layer", "vhd-layer", "qcow2-layer", "vmdk-layer"])
    }

    @Test("vdfuse keeps its contract inside this process")
    func vdfuse() async throws {
        try await expectSound(ConformanceCell(VDFuseBackend.descriptor, .inline), formats: ["raw", "vdi-layer"])
    }

    @Test(
        "libguestfs keeps its contract inside this process",
        .enabled(if: isFull, "takes hours: `make conformance-full` runs it"))
    func libguestfs() async throws { try await expectSound(ConformanceCell(GuestFSBackend.descriptor, .inline)) }

    @Test("libvirt's test driver keeps its contract inside this process")
    func libvirtTest() async throws {
        let descriptor = try #require(LibvirtBackend.descriptor(dialect: "test"))
        try await expectSound(ConformanceCell(descriptor, .inline))
    }

    @Test("the memory disk keeps its contract")
    func memoryDisk() async throws { try await expectSound(ConformanceCell(MemoryBackend.disk, .inline)) }
}
