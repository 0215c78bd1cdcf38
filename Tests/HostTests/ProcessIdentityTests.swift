import Abstractions
import Host
import Testing

#if canImport(Glibc)
    import Glibc
#endif

@Suite struct ProcessIdentityTests {
    private func withSleeper<Value>(
        _ environment: [String: String] = [:], arguments: [String] = ["1000"],
        _ body: (ChildProcess) async throws -> Value
    ) async throws -> Value {
        let sleep = try #require(HostEnvironment.program("sleep"))
        let child = try ChildProcess(sleep, arguments, environment: environment, output: .null, errors: .null)
        defer { child.signal(SIGKILL) }
        return try await body(child)
    }

    @Test("a process is itself while it lives, and nobody afterwards")
    func lifetime() async throws {
        try await withSleeper { child in
            let identity = try #require(ProcessIdentity(pid: child.pid))
            #expect(identity.isAlive)
            #expect(ProcessIdentity(pid: child.pid) == identity)
            child.signal(SIGKILL)
            _ = await onOwnThread { child.wait() }
            #expect(!identity.isAlive)
            #expect(ProcessIdentity(pid: child.pid) == nil)
        }
    }

    @Test("a process is found by its run's mark in the environment")
    func environment() async throws {
        let run = "test\(getpid())mark"
        try await withSleeper(["ANYVISOR_RUN": run]) { child in
            // The child has its environment as soon as exec is over.
            while ProcessIdentity.all(ofRun: run).isEmpty { await Task.yield() }
            #expect(ProcessIdentity.all(ofRun: run).map(\.pid) == [child.pid])
            #expect(ProcessIdentity.all(ofRun: run + "x").isEmpty)
            #expect(ProcessIdentity.all(withVariable: "ANYVISOR_RUN", run).map(\.pid) == [child.pid])
            child.signal(SIGKILL)
            _ = await onOwnThread { child.wait() }
        }
    }

    @Test("a child has nothing of our environment and no descriptor of ours")
    func isolation() async throws {
        setenv("ANYVISOR_TEST_SECRET", "1", 1)
        defer { unsetenv("ANYVISOR_TEST_SECRET") }
        let open = Glibc.open("/dev/null", O_RDONLY)
        defer { close(open) }
        let outcome = try await Tool.run("sh", ["-c", "env; ls /proc/self/fd"], environment: ["PATH": "/usr/bin:/bin"])
        #expect(!outcome.text.contains("ANYVISOR_TEST_SECRET"))
        let descriptors = outcome.text.split(separator: "\n").compactMap { Int($0) }
        #expect(descriptors.allSatisfy { $0 <= 3 }, "descriptors \(descriptors)")
    }
}
