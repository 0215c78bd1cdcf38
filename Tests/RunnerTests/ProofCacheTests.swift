import Abstractions
import Host
import Synchronization
import Testing

@testable import Runner

@Suite("A proof")
struct ProofCacheTests {
    private let folder: TestFolder
    private let image: GuestImage
    private let info = HypervisorInfo(
        name: "proven", version: "1", features: [.executesGuests], diskFormats: [.raw], maximumCPUs: 1)

    init() throws {
        folder = try TestFolder()
        _ = try folder.write("image/image.json", #"{"name": "fake"}"#)
        image = try GuestImage(folder: folder.path.appending("image"))
    }

    private var cache: ProofCache { ProofCache(cache: folder.path.appending("cache")) { _ in } }

    @Test("a hypervisor is asked for its proof once, and again when its version or the image is another")
    func once() async throws {
        let hypervisor = Proven([Finding("kernel", .good, "boots")])
        try await cache.require(hypervisor, info, image)
        try await cache.require(hypervisor, info, image)
        #expect(hypervisor.asked == 1)
        var newer = info
        newer.version = "2"
        try await cache.require(hypervisor, newer, image)
        #expect(hypervisor.asked == 2)
        var other = image
        other.identity = "other"
        try await cache.require(hypervisor, newer, other)
        #expect(hypervisor.asked == 3)
    }

    @Test(
        "an obstacle is kept, until somebody else's proof takes its place",
        arguments: [Finding.Status.bad, .impossible])
    func obstacle(status: Finding.Status) async throws {
        let hypervisor = Proven([Finding("kernel", status, "it did not end")])
        for _ in 1...2 {
            await #expect {
                try await cache.require(hypervisor, info, image)
            } throws: { error in
                let known = error as? BackendError
                return known?.code == .unavailable && known?.message.contains("it did not end") == true
            }
        }
        #expect(hypervisor.asked == 1)
        cache.keep([Finding("kernel", .good, "boots")], of: info, image)
        try await cache.require(hypervisor, info, image)
        #expect(hypervisor.asked == 1)
    }

    @Test("an obstacle is asked for again when what is here has changed, and only then")
    func changed() async throws {
        let module = Finding("module", .warning, "not loaded")
        let hypervisor = Proven([module, Finding("kernel", .bad, "it did not end")], presence: [module])
        for _ in 1...2 {
            await #expect(throws: BackendError.self) { try await cache.require(hypervisor, info, image) }
        }
        #expect(hypervisor.asked == 1)
        let loaded = Finding("module", .good, "loaded")
        let mended = Proven([loaded, Finding("kernel", .good, "boots")], presence: [loaded])
        for _ in 1...2 { try await cache.require(mended, info, image) }
        #expect(mended.asked == 1)
    }
}

/// A hypervisor that has only a proof.
private final class Proven: Hypervisor {
    private let findings: [Finding]
    private let presence: [Finding]
    private let count = Mutex(0)
    private var error: BackendError { BackendError(.internal, "test", "not asked for") }

    init(_ findings: [Finding], presence: [Finding] = []) {
        self.findings = findings
        self.presence = presence
    }

    var asked: Int { count.withLock { $0 } }

    func info() async throws -> HypervisorInfo { throw error }
    func check(_ depth: CheckDepth) async throws -> [Finding] {
        guard depth == .proof else { return presence }
        count.withLock { $0 += 1 }
        return findings
    }
    func create(_ spec: MachineSpec) async throws -> any Machine { throw error }
    func machine(_ id: MachineID) async throws -> (any Machine)? { nil }
    func machines(ownedBy: OwnerTag) async throws -> [MachineSummary] { [] }
    func close() async {}
}
