import Abstractions
import Host
import PluginKit
import Testing

@Suite("Talking to a plugin")
struct PluginTalkTests {
    private func error(greeting: String) async throws -> BackendError? {
        let plugin = try ScriptedPlugin(greeting: greeting)
        defer { plugin.remove() }
        let disk = try await plugin.disk()
        let error = await failure { _ = try await disk.info() }
        await disk.close()
        return error
    }

    @Test("a greeting with another version is explained")
    func version() async throws {
        let error = try await error(greeting: "hello(protocol=[7, 9])")
        #expect(error?.code == .protocolViolation)
        #expect(error?.message.contains("speaks protocol [7, 9]") == true)
    }

    @Test("a range of versions that has ours is fine")
    func range() async throws {
        #expect(try await error(greeting: "hello(protocol=[0, 4])") == nil)
    }

    @Test("noise before the greeting is refused and shown")
    func noise() async throws {
        let error = try await error(greeting: "print('Welcome to libfoo 3.1'); hello()")
        #expect(error?.code == .protocolViolation)
        #expect(error?.message.contains("Welcome to libfoo 3.1") == true)
    }

    @Test("a plugin of the other kind is refused")
    func kind() async throws {
        let error = try await error(greeting: "hello(kind='hypervisor')")
        #expect(error?.code == .protocolViolation)
    }

    @Test("an error needs only a code and a message")
    func smallError() async throws {
        let plugin = try ScriptedPlugin(
            check: """
                send(id=request["id"], error={"code": -32000, "message": "no", "data": {"code": "corrupt", "message": "no"}})
                """)
        defer { plugin.remove() }
        let disk = try await plugin.disk()
        let error = await failure { _ = try await disk.check(.presence) }
        #expect(error?.code == .corrupt)
        #expect(error?.blame == .disk)
        #expect(error?.backend == "scripted")
        #expect(error?.operation == "disk.check")
        #expect(try await disk.info().name == "scripted")
        await disk.close()
    }

    @Test("answers may come in any order")
    func order() async throws {
        let plugin = try ScriptedPlugin(
            check: """
                waiting = globals().setdefault("waiting", [])
                waiting.append(request)
                if len(waiting) == 2:
                    for each in reversed(waiting):
                        depth = each["params"]["depth"]
                        send(id=each["id"], result={"value": [{"subject": depth, "status": "good", "detail": ""}]})
                """)
        defer { plugin.remove() }
        let disk = try await plugin.disk()
        async let presence = disk.check(.presence)
        async let proof = disk.check(.proof)
        let subjects = try await [presence[0].subject, proof[0].subject]
        #expect(subjects == ["presence", "proof"])
        await disk.close()
    }

    @Test("a cancelled call is told to the plugin, and the plugin lives on")
    func cancel() async throws {
        let plugin = try ScriptedPlugin(
            check: """
                send(method="$/progress", params={"id": request["id"], "progress": {"bytes": 1, "files": 0}})
                note = json.loads(sys.stdin.readline())
                assert note["method"] == "$/cancel" and note["params"]["id"] == request["id"]
                data = {"code": "cancelled", "message": "cancelled by the caller"}
                send(id=request["id"], error={"code": -32000, "message": "cancelled", "data": data})
                """)
        defer { plugin.remove() }
        let disk = try await plugin.disk()
        let before = try await disk.process()
        let task = Task { try await disk.check(.presence) }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(try await disk.process() == before)
        await disk.close()
    }
}
