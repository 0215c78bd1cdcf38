import Abstractions
import ConformanceKit
import DirectBackend
import Host
import LibvirtBackend
import MemoryBackend
import Testing

/// The cells that run inside this process; those in a plugin's process run by `anyvisor conformance`.
@Suite(.serialized) struct InlineCells {
    /// The project's folder: tests are run from there.
    static let project = HostFiles.absolute(HostPath(#filePath)).parent.parent.parent

    private func expectSound(_ cell: ConformanceCell, filter: String? = nil) async throws {
        let folder = try RunScope.makeProcessFolder("conformance")
        defer { try? HostFiles.removeTree(folder) }
        let settings = ConformanceSettings(folder: folder, guestFolder: Self.project.appending("guest"), filter: filter)
        let report = await ConformanceSuite.run(cell, settings)
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
    func direct() async throws { try await expectSound(ConformanceCell(DirectBackend.descriptor, .inline)) }

    @Test("libvirt's test driver keeps its contract inside this process")
    func libvirtTest() async throws {
        let descriptor = try #require(LibvirtBackend.descriptor(dialect: "test"))
        try await expectSound(ConformanceCell(descriptor, .inline))
    }

    @Test("the memory disk keeps its contract")
    func memoryDisk() async throws { try await expectSound(ConformanceCell(MemoryBackend.disk, .inline)) }
}
