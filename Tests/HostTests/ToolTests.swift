import Abstractions
import Host
import Testing

#if canImport(Glibc)
    import Glibc
#endif

@Suite struct ToolTests {
    @Test("a tool's output, errors and exit code come back")
    func outcome() async throws {
        let outcome = try await Tool.run("sh", ["-c", "echo out; echo err >&2; exit 3"])
        #expect(outcome.text == "out\n")
        #expect(outcome.errors == "err\n")
        #expect(outcome.exit == .exited(3))
    }

    @Test("check throws for a non-zero exit, with what the tool said")
    func check() async throws {
        let error = await #expect(throws: BackendError.self) {
            try await Tool.check("sh", ["-c", "echo it is broken >&2; exit 4"])
        }
        #expect(error?.message.contains("it is broken") == true)
        #expect(error?.message.contains("exit 4") == true)
    }

    @Test("a tool that is not installed is unavailable")
    func missing() async throws {
        let error = await #expect(throws: BackendError.self) { try await Tool.run("no-such-tool-anywhere", []) }
        #expect(error?.code == .unavailable)
    }

    @Test("a tool that does not end is killed at its deadline, its children too")
    func deadline() async throws {
        try await withFolder { folder in
            let file = folder.appending("child")
            let start = ContinuousClock.now
            let error = await #expect(throws: BackendError.self) {
                try await Tool.run(
                    "sh", ["-c", "sleep 1000 & echo $! > \"$1\"; wait", "sh", file.string], deadline: .milliseconds(500)
                )
            }
            #expect(error?.code == .timeout)
            #expect(ContinuousClock.now - start < .seconds(30))
            let text = try HostFiles.readText(file)
            let child = try #require(Int32(text.prefix { $0.isNumber }))
            // The signal is sent, and nobody here is its parent: the kernel ends it as soon as it runs again.
            #expect(await onOwnThread { eventually(within: .seconds(5)) { ProcessIdentity(pid: child) == nil } })
        }
    }

    @Test("a tool that ignores the end of its output is killed when the task is cancelled")
    func cancellation() async throws {
        let task = Task { try await Tool.run("sh", ["-c", "trap '' TERM; sleep 1000"]) }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
    }

    @Test("output past the limit is dropped, not waited for")
    func limit() async throws {
        let outcome = try await Tool.run("sh", ["-c", "yes | head -c 3000000"], limit: 1_000)
        #expect(outcome.output.count == 1_000)
        #expect(outcome.exit == .exited(0))
    }
}
