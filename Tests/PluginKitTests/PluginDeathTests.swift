import Abstractions
import Host
import PluginKit
import Testing

@Suite("A plugin that dies, hangs or babbles")
struct PluginDeathTests {
    /// Lets the plugin do its worst; gives the error, how long it took, and whether the process is gone by then.
    private func misbehave(
        _ check: String, deadline: Duration? = nil
    ) async throws -> (error: BackendError?, seconds: Double, isGone: Bool) {
        let plugin = try ScriptedPlugin(check: check)
        defer { plugin.remove() }
        let disk = try await plugin.disk()
        let process = try await disk.process()
        let began = ContinuousClock.now
        let error = await CallDeadline.$current.withValue(deadline.map { began + $0 }) {
            await failure { _ = try await disk.check(.presence) }
        }
        let seconds = began.duration(to: .now).inSeconds
        let isGone = !process.isAlive
        await disk.close()
        return (error, seconds, isGone)
    }

    @Test("killed in a call: crashed, with its signal and the end of its standard error")
    func killed() async throws {
        let (error, _, isGone) = try await misbehave(
            "sys.stderr.write('last words'); sys.stderr.flush(); os.kill(os.getpid(), 9)")
        #expect(error?.code == .crashed)
        #expect(error?.message.contains("signal 9") == true)
        #expect(error?.evidence["stderr"] == "last words")
        #expect(error?.backend == "scripted")
        #expect(isGone)
    }

    @Test("killed in the middle of a line: crashed, not a matter of protocol")
    func killedInALine() async throws {
        let (error, _, _) = try await misbehave(
            "sys.stdout.write('{\"jsonrpc\"'); sys.stdout.flush(); os.kill(os.getpid(), 9)")
        #expect(error?.code == .crashed)
    }

    @Test("exits in the middle of a line: a violation that shows the half line")
    func halfALine() async throws {
        let (error, _, _) = try await misbehave("sys.stdout.write('half a wo'); sys.stdout.flush(); os._exit(0)")
        #expect(error?.code == .protocolViolation)
        #expect(error?.message.contains("half a wo") == true)
    }

    @Test("stopped: timeout at the deadline, and it is dead by then")
    func stopped() async throws {
        let (error, _, isGone) = try await misbehave(
            "os.kill(os.getpid(), signal.SIGSTOP)", deadline: .milliseconds(300))
        #expect(error?.code == .timeout)
        #expect(isGone)
    }

    @Test("what a stopped plugin says in its last moments is no answer")
    func lastWords() async throws {
        let (error, _, isGone) = try await misbehave(
            """
            data = {"code": "cancelled", "message": "cancelled by the caller"}
            answer = lambda *_: send(id=request["id"], error={"code": -32000, "message": "cancelled", "data": data})
            signal.signal(signal.SIGTERM, answer)
            os.kill(os.getpid(), signal.SIGSTOP)
            """, deadline: .milliseconds(300))
        #expect(error?.code == .timeout)
        #expect(isGone)
    }

    @Test("stopped and deaf: requests that fill its pipe hold nobody up")
    func stoppedWithAFullPipe() async throws {
        let plugin = try ScriptedPlugin(check: "os.kill(os.getpid(), signal.SIGSTOP)")
        defer { plugin.remove() }
        let disk = try await plugin.disk()
        let process = try await disk.process()
        let long = DiskImage(path: HostPath(String(repeating: "x", count: 300_000)), format: .raw)
        await CallDeadline.$current.withValue(.now + .milliseconds(500)) {
            async let first = failure { _ = try await disk.check(.presence) }
            async let second = failure { _ = try await disk.probe(long) }
            let codes = await [first?.code, second?.code]
            #expect(codes == [.timeout, .timeout])
        }
        #expect(!process.isAlive)
        await disk.close()
    }

    @Test("a line that is not JSON ends it, and the error shows the line")
    func garbage() async throws {
        let (error, _, isGone) = try await misbehave("print('Segmentation fault, my friend', flush=True)")
        #expect(error?.code == .protocolViolation)
        #expect(error?.message.contains("Segmentation fault, my friend") == true)
        #expect(isGone)
    }

    @Test("a line longer than 1 MiB ends it")
    func oversize() async throws {
        let (error, _, isGone) = try await misbehave("print('\"' + 'x' * (1 << 20) + '\"', flush=True)")
        #expect(error?.code == .protocolViolation)
        #expect(error?.message.contains("longer than 1 MiB") == true)
        #expect(isGone)
    }

    @Test("an answer of another shape is a violation")
    func wrongShape() async throws {
        let (error, _, isGone) = try await misbehave("send(id=request['id'], result={'value': 'fine'})")
        #expect(error?.code == .protocolViolation)
        #expect(isGone)
    }

    @Test("what it started goes with it, even in a session of its own")
    func stragglers() async throws {
        let plugin = try ScriptedPlugin(
            check: """
                child = subprocess.Popen(["sleep", "600"], start_new_session=True, stdin=subprocess.DEVNULL)
                open(os.path.join(os.path.dirname(__file__), "child"), "w").write(str(child.pid))
                os.kill(os.getpid(), 9)
                """)
        defer { plugin.remove() }
        let disk = try await plugin.disk()
        let error = await failure { _ = try await disk.check(.presence) }
        let text = try HostFiles.readText(plugin.folder.appending("child"))
        let pid = try #require(Int32(text))
        // The child holds the plugin's output open: the death must be seen all the same.
        #expect(error?.code == .crashed)
        #expect(ProcessIdentity(pid: pid) == nil)
        await disk.close()
    }

    @Test("starts again when it is needed, at most three times a minute")
    func restartBudget() async throws {
        let plugin = try ScriptedPlugin(check: "os._exit(3)")
        defer { plugin.remove() }
        let disk = try await plugin.disk()
        for _ in 1...3 {
            let error = await failure { _ = try await disk.check(.presence) }
            #expect(error?.code == .crashed)
            #expect(error?.message.contains("exit 3") == true)
        }
        let error = await failure { _ = try await disk.check(.presence) }
        #expect(error?.code == .unavailable)
        await disk.close()
    }

    @Test("closing ends it, and later calls say so")
    func close() async throws {
        let plugin = try ScriptedPlugin()
        defer { plugin.remove() }
        let disk = try await plugin.disk()
        let process = try await disk.process()
        await disk.close()
        await disk.close()
        #expect(!process.isAlive)
        #expect(await failure { _ = try await disk.info() }?.code == .invalidState)
    }
}
