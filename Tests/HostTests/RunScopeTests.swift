import Abstractions
import Host
import Testing

@Suite struct RunScopeTests {
    @Test("a scope has its folders, its lock and its first record, and leaves nothing")
    func lifetime() async throws {
        try await withFolder { state in
            let (scope, lock) = try RunScope.make(in: state)
            #expect(HostFiles.isDirectory(scope.work))
            #expect(HostFiles.isDirectory(scope.shortDirectory))
            #expect(scope.shortDirectory.string.utf8.count < 60)
            #expect(FileLock.isHeld(scope.lockFile))
            #expect(try scope.journal.records() == [.phase("begin")])
            #expect(scope.environment["ANYVISOR_RUN"] == scope.id)
            #expect(RunScope(folder: HostPath(scope.environment["ANYVISOR_JOURNAL"] ?? "").parent).id == scope.id)
            try HostFiles.write([1], to: scope.work.appending("file"))
            try scope.remove()
            withExtendedLifetime(lock) {}
            #expect(!HostFiles.exists(scope.folder))
            #expect(!HostFiles.exists(scope.shortDirectory))
        }
    }

    @Test("two scopes never share a name")
    func names() async throws {
        try await withFolder { state in
            let scopes = try (0..<5).map { _ in try RunScope.make(in: state) }
            #expect(Set(scopes.map(\.scope.id)).count == 5)
            for scope in scopes { try scope.scope.remove() }
        }
    }

    @Test("a machine of a run carries the run's mark")
    func owner() {
        let scope = RunScope(folder: "/state/runs/abc123")
        #expect(scope.id == "abc123")
        #expect(scope.owner.owns("anyvisor-abc123-1"))
        #expect(!scope.owner.owns("anyvisor-abc1234-1"))
    }
}
