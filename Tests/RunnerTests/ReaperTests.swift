import Abstractions
import Host
import Testing

@testable import Runner

#if canImport(Glibc)
    import Glibc
#endif

@Suite("Reaping")
struct ReaperTests {
    private let folder: TestFolder
    private let reaper: Reaper

    init() throws {
        folder = try TestFolder()
        reaper = Reaper(
            state: folder.path, recover: { _ in },
            destroyDomain: { uri, name in
                throw BackendError(.unavailable, "reap", "nobody reaches \(name) at \(uri)")
            })
    }

    @Test("ends the processes of a dead run and removes what it journaled")
    func dead() async throws {
        let leftover = try folder.write("elsewhere/draft/file", "x").parent
        let (scope, child) = try { () -> (RunScope, ChildProcess) in
            let (scope, lock) = try RunScope.make(in: folder.path)
            defer { withExtendedLifetime(lock) {} }
            try scope.journal.append(.path(leftover))
            let child = try ChildProcess(
                "/bin/sleep", ["600"], environment: scope.environment, output: .null, errors: .null)
            return (scope, child)
        }()
        // The child is ours, so only we can take its body away.
        async let ended = onOwnThread { child.wait() }
        let reports = await reaper.reap()
        #expect(await ended == .signaled(SIGTERM))
        #expect(reports.map(\.run) == [scope.id])
        #expect(reports.first?.problems == [])
        #expect(!HostFiles.exists(leftover))
        #expect(!HostFiles.exists(scope.folder))
        #expect(!HostFiles.exists(scope.shortDirectory))
    }

    @Test("leaves a run that lives alone")
    func alive() async throws {
        let (scope, lock) = try RunScope.make(in: folder.path)
        let reports = await reaper.reap()
        #expect(reports.isEmpty)
        #expect(HostFiles.exists(scope.folder))
        withExtendedLifetime(lock) {}
        try scope.remove()
    }

    @Test("removes a run that was killed before it had its lock, but none that is just being made")
    func unborn() async throws {
        let runs = folder.path.appending("runs")
        let unborn = RunScope(folder: runs.appending("unborn"))
        try HostFiles.makeDirectories(unborn.folder)
        let maker = open(runs.string, O_RDONLY | O_DIRECTORY)
        #expect(flock(maker, LOCK_SH) == 0)
        #expect(await reaper.reap().isEmpty)
        #expect(HostFiles.exists(unborn.folder))
        // Closing alone would leave the lock to a child that another test is just starting.
        flock(maker, LOCK_UN)
        close(maker)
        #expect(await reaper.reap().map(\.run) == ["unborn"])
        #expect(!HostFiles.exists(unborn.folder))
    }

    @Test("keeps the folders of a run as long as something of it cannot be removed")
    func stubborn() async throws {
        let scope = try {
            let (scope, lock) = try RunScope.make(in: folder.path)
            defer { withExtendedLifetime(lock) {} }
            try scope.journal.append(.domain(uri: "x:///y", name: "anyvisor-a-1"))
            return scope
        }()
        let reports = await reaper.reap()
        #expect(reports.first?.problems == ["nobody reaches anyvisor-a-1 at x:///y"])
        #expect(HostFiles.exists(scope.folder))
        try scope.remove()
    }
}
