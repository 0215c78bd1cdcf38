import Abstractions
import Filters
import Testing

@Suite("A chain of disk backends")
struct FallbackDiskTests {
    /// Old files, and a transaction whose twofold doing would lose one of them.
    private let old: [GuestPath: String] = ["/a": "old a", "/b": "old b", "/c": "old c"]
    private let new: [GuestPath: String] = ["/a": "/host/new-a", "/b": "old a"]

    private func change(_ session: any DiskSession) async throws {
        let filesystem = try await session.filesystem(on: .whole)
        let writable = try #require(filesystem.writable)
        try await writable.rename("/a", to: "/b")
        _ = try await writable.copyIn("/host/new-a", to: "/a", options: CopyInOptions(), progress: .none)
        try await writable.remove("/c", recursive: false)
    }

    @Test(
        "goes over in the middle of a session and does every change again",
        arguments: [
            "disk.open", "session.filesystem", "filesystem.stat", "writable.rename", "writable.copyIn",
            "writable.remove",
            "session.commit",
        ], [BackendError.Code.crashed, .timeout, .protocolViolation, .unsupported, .unavailable])
    func goesOver(operation: String, code: BackendError.Code) async throws {
        let disk = FakeImage(old)
        let log = FallbackLog()
        let error = BackendError(code, operation, "it broke")
        let chain = chain(disk, [.init(operation, .fail(error))], log: log)
        let session = try await chain.open(image, .readWrite)
        try await change(session)
        #expect(disk.files == old)
        try await session.commit()
        try await session.close()
        #expect(disk.files == new)
        #expect(log.rejections.map(\.backend) == ["a"])
        #expect(log.rejections.map(\.code) == [code])
        #expect(log.used.last == "b")
        await chain.close()
    }

    @Test("a commit whose answer is lost is not done twice")
    func lostAnswer() async throws {
        let disk = FakeImage(old)
        let log = FallbackLog()
        let chain = chain(disk, [.init("session.commit", .failAfter(crash))], log: log)
        let session = try await chain.open(image, .readWrite)
        try await change(session)
        try await session.commit()
        #expect(disk.files == new)
        // The session goes on with the next backend.
        let writable = try #require(try await session.filesystem(on: .whole).writable)
        try await writable.remove("/b", recursive: false)
        try await session.commit()
        try await session.close()
        #expect(disk.files == ["/a": "/host/new-a"])
        #expect(log.rejections.map(\.operation) == ["session.commit"])
    }

    @Test("changes committed before are not done again")
    func committedBefore() async throws {
        let disk = FakeImage(old)
        let chain = chain(disk, [.init("writable.remove", call: 2, .fail(crash))])
        let session = try await chain.open(image, .readWrite)
        try await change(session)
        try await session.commit()
        let writable = try #require(try await session.filesystem(on: .whole).writable)
        try await writable.remove("/b", recursive: false)
        try await session.commit()
        try await session.close()
        #expect(disk.files == ["/a": "/host/new-a"])
    }

    @Test("closing without commit changes nothing, whoever did the work")
    func closeWithoutCommit() async throws {
        let disk = FakeImage(old)
        let chain = chain(disk, [.init("writable.remove", .fail(crash))])
        let session = try await chain.open(image, .readWrite)
        try await change(session)
        try await session.close()
        #expect(disk.files == old)
        #expect(await failure { try await session.commit() }?.code == .invalidState)
    }

    @Test(
        "what is the image's own fault stays with the first",
        arguments: [BackendError.Code.corrupt, .permissionDenied, .inUse, .notFound, .noSpace])
    func staysWithTheFirst(code: BackendError.Code) async throws {
        let disk = FakeImage(old)
        let log = FallbackLog()
        let chain = chain(disk, [.init("disk.open", .fail(BackendError(code, "disk.open", "no")))], log: log)
        #expect(await failure { _ = try await chain.open(image, .readWrite) }?.code == code)
        #expect(log.rejections.isEmpty)
    }

    @Test("when nobody is left, the error has every reason and the image is as before")
    func nobodyLeft() async throws {
        let disk = FakeImage(old)
        let log = FallbackLog()
        let faults = FaultFilter([.init("writable.remove", .fail(crash))])
        let candidates = ["a", "b"].map { name in
            Candidate<any DiskAccess>(name) { FakeDisk(name: name, image: disk).intercepted(by: faults) }
        }
        let staging = CopyStaging(announce: { _ in }, remove: { try removeFolder($0) })
        let chain = FallbackDisk(candidates, log: log, staging: staging)
        let session = try await chain.open(image, .readWrite)
        let error = await failure { try await change(session) }
        #expect(error?.code == .crashed)
        #expect(error?.causes.map(\.backend) == ["a", "b"])
        #expect(await failure { try await session.commit() } == error)
        try await session.close()
        #expect(disk.files == old)
        #expect(log.rejections.map(\.backend) == ["a", "b"])
    }

    @Test("a name that is not built in is passed over, one that nobody knows is refused")
    func names() async throws {
        let disk = FakeImage(old)
        var registry = BackendRegistry(knownNames: ["direct"])
        try registry.register(
            BackendDescriptor(name: "fake", summary: "", factory: .disk { _ in FakeDisk(name: "fake", image: disk) }))
        let log = FallbackLog()
        let staging = CopyStaging(announce: { _ in }, remove: { try removeFolder($0) })
        let chain = FallbackDisk(try registry.diskCandidates(["direct", "fake"]), log: log, staging: staging)
        #expect(try await chain.info().name == "fake")
        #expect(log.rejections.map(\.code) == [.unavailable])
        #expect(throws: BackendError.self) { try registry.diskCandidates(["fakee"]) }
    }

    @Test("a backend that is unsupported for one image is asked again for the next")
    func unsupportedOnce() async throws {
        let disk = FakeImage(old)
        let log = FallbackLog()
        let error = BackendError(.unsupported, "disk.open", "not this format")
        let chain = chain(disk, [.init("disk.open", call: 1, .fail(error))], log: log)
        try await chain.open(image, .readOnly).close()
        try await chain.open(image, .readOnly).close()
        #expect(log.used == ["b", "a"])
    }

    @Test("the next backend has the whole time again")
    func deadlines() async throws {
        let disk = FakeImage(old)
        let stuck = FakeDisk(name: "a", image: disk).intercepted(by: FaultFilter([.init("disk.info", .hang)]))
            .intercepted(by: DeadlineFilter { _ in nil })
        let candidates = [
            Candidate<any DiskAccess>("a") { stuck },
            Candidate<any DiskAccess>("b") {
                FakeDisk(name: "b", image: disk).intercepted(by: DeadlineFilter { _ in nil })
            },
        ]
        let log = FallbackLog()
        let staging = CopyStaging(announce: { _ in }, remove: { try removeFolder($0) })
        let chain = FallbackDisk(candidates, log: log, staging: staging)
        let name = try await CallDeadline.$current.withValue(.now + .milliseconds(100)) { try await chain.info().name }
        #expect(name == "b")
        #expect(log.rejections.map(\.code) == [.timeout])
    }

    @Test("a copy out that is cut off leaves nothing, and the next one is whole")
    func copyOut() async throws {
        let folder = try temporaryFolder()
        let disk = FakeImage(old)
        let chain = chain(disk, [.init("filesystem.copyOut", .failAfter(crash))])
        let session = try await chain.open(image, .readOnly)
        let filesystem = try await session.filesystem(on: .whole)
        let target = folder.appending("out")
        _ = try await filesystem.copyOut("/a", to: target, policy: .faithful, progress: .none)
        #expect(FiltersTests.names(in: folder) == ["out"])
        let again = await failure {
            _ = try await filesystem.copyOut("/a", to: target, policy: .faithful, progress: .none)
        }
        #expect(again?.code == .alreadyExists)
        let missing = await failure {
            _ = try await filesystem.copyOut("/x", to: folder.appending("x"), policy: .faithful, progress: .none)
        }
        #expect(missing?.code == .notFound)
        #expect(FiltersTests.names(in: folder) == ["out"])
        try await session.close()
        try removeFolder(folder)
    }
}
