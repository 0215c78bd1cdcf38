import Abstractions
import Host
import Synchronization
import Testing

@testable import VBoxManageBackend

@Suite("the command line")
struct ToolTests {
    private func withProgram(_ script: String, _ body: (HostPath) async throws -> Void) async throws {
        let place = try RunScope.makeProcessFolder("vboxmanage-test")
        defer { try? HostFiles.removeTree(place) }
        let program = place.appending("program")
        let draft = place.appending("draft")
        try HostFiles.write(Array("#!/bin/sh\n\(script)\n".utf8), to: draft, mode: 0o755)
        // Written by another process: a child that this one starts meanwhile would hold it open for writing until its exec.
        _ = try await Tool.check("cp", ["--preserve=mode", "--", draft.string, program.string])
        try await body(program)
    }

    @Test("a VirtualBox that is not here is unavailable, and check says what to install")
    func missing() async throws {
        let backend = VBoxManageHypervisor(
            try OptionValues(
                ["program": "/no/such/VBoxManage"], declared: VBoxManageBackend.descriptor.options))
        let error = await #expect(throws: BackendError.self) { try await backend.info() }
        #expect(error?.code == .unavailable && error?.message.contains("install VirtualBox") == true)
        let findings = try await backend.check(.proof)
        #expect(findings.map(\.status) == [.bad] && findings[0].remedy == VBoxManageTool.remedy)
    }

    @Test("arguments arrive as they are: no shell looks at them")
    func arguments() async throws {
        try await withProgram("printf '%s|' \"$@\"") { program in
            let text = try await VBoxManageTool(program: program.string)("t", ["a b", "$HOME", "`id`;*", ""])
            #expect(text == "-q|a b|$HOME|`id`;*||")
        }
    }

    @Test("the service that VBoxManage starts carries no mark of a run")
    func environment() async throws {
        let scope = RunScope(folder: "/no/such/run")
        try await withProgram("env") { program in
            try await RunScope.$adopted.withValue(scope) {
                let text = try await VBoxManageTool(program: program.string)("t", [])
                #expect(text.contains("PATH=") && !text.contains("ANYVISOR_"))
            }
        }
        let left = VBoxManageTool.environment(["ANYVISOR_RUN": "x", "TMPDIR": "/run", "HOME": "/h"])
        #expect(left == ["HOME": "/h"])
    }

    @Test("a command that finds the machine locked is tried again until it is free")
    func locked() async throws {
        let script = """
            count="${0%/*}/count"; echo x >>"$count"
            [ "$(wc -l <"$count")" -ge 3 ] && exit 0
            echo "VBoxManage: error: Cannot unregister the machine 'a' while it is locked" >&2; exit 1
            """
        try await withProgram(script) { program in
            try await VBoxManageTool(program: program.string).whenUnlocked("t", ["unregistervm", "a"])
            #expect(try HostFiles.readText(program.parent.appending("count")) == "x\nx\nx\n")
        }
    }

    @Test("one that hangs is killed when its time is over")
    func hanging() async throws {
        try await withProgram("exec sleep 100") { program in
            let error = await #expect(throws: BackendError.self) {
                try await VBoxManageTool(program: program.string)("t", ["list"], within: .milliseconds(50))
            }
            #expect(error?.code == .timeout)
        }
    }

    @Test("calls wait for their turn, and one that fails gives it on")
    func turn() async throws {
        let turn = Turn()
        let inside = Inside()
        await withTaskGroup(of: Void.self) { group in
            for number in 0..<20 {
                group.addTask {
                    _ = try? await turn.run {
                        inside.enter()
                        await Task.yield()
                        inside.leave()
                        if number % 3 == 0 { throw CancellationError() }
                    }
                }
            }
        }
        #expect(inside.most == 1 && inside.left == 20)
    }
}

/// Counts who is inside at once.
private final class Inside: Sendable {
    private let counts = Mutex((now: 0, most: 0, left: 0))
    var most: Int { counts.withLock { $0.most } }
    var left: Int { counts.withLock { $0.left } }
    func enter() { counts.withLock { $0 = ($0.now + 1, max($0.most, $0.now + 1), $0.left) } }
    func leave() { counts.withLock { $0 = ($0.now - 1, $0.most, $0.left + 1) } }
}
