import Abstractions
import FoundationEssentials
import Host
import MemoryBackend
import Synchronization
import Testing

@testable import PluginKit

#if canImport(Glibc)
    import Glibc
#endif

@Suite("Serving a backend")
struct PluginServiceTests {
    /// A service in this process; lines go in by `send` and come out of `next`.
    private final class Peer: Sendable {
        let service: PluginService
        private let ends: [Int32]

        init(_ descriptor: BackendDescriptor) {
            var ends: [Int32] = [-1, -1]
            pipe(&ends)
            self.ends = ends
            service = PluginService(descriptor, LineChannel(input: -1, output: ends[1]))
        }

        func send(_ line: String) { service.receive(Array(line.utf8)) }

        /// The next line that the service writes.
        func next() async -> String {
            await onOwnThread { [self] in
                var line: [UInt8] = []
                var byte: UInt8 = 0
                while read(ends[0], &byte, 1) == 1, byte != 0x0a { line.append(byte) }
                return String(decoding: line, as: UTF8.self)
            }
        }

        func ask(_ line: String) async -> String {
            send(line)
            return await next()
        }

        deinit { ends.forEach { close($0) } }
    }

    private func hypervisor() async -> Peer {
        let peer = Peer(MemoryBackend.hypervisor)
        _ = await peer.ask(#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"options":{}}}"#)
        return peer
    }

    @Test("nothing works before initialize, and initialize works once")
    func initialize() async {
        let peer = Peer(MemoryBackend.hypervisor)
        let early = await peer.ask(#"{"jsonrpc":"2.0","id":1,"method":"hypervisor.info","params":{"handle":""}}"#)
        #expect(early.contains("invalidState"))
        let wrong = await peer.ask(
            #"{"jsonrpc":"2.0","id":2,"method":"initialize","params":{"options":{"gest":"x"}}}"#)
        #expect(wrong.contains("did you mean 'guest'"))
        let first = await peer.ask(#"{"jsonrpc":"2.0","id":3,"method":"initialize","params":{"options":{}}}"#)
        #expect(first == #"{"id":3,"jsonrpc":"2.0","result":{}}"#)
        let second = await peer.ask(#"{"jsonrpc":"2.0","id":4,"method":"initialize","params":{"options":{}}}"#)
        #expect(second.contains("invalidState"))
    }

    @Test("an unknown method and an unknown handle say so")
    func unknown() async {
        let peer = await hypervisor()
        let method = await peer.ask(#"{"jsonrpc":"2.0","id":2,"method":"hypervisor.fly","params":{"handle":"m9"}}"#)
        #expect(method.contains("notFound") || method.contains("unsupported"))
        let handle = await peer.ask(#"{"jsonrpc":"2.0","id":3,"method":"machine.state","params":{"handle":"m9"}}"#)
        #expect(handle.contains(#""code":"notFound""#) && handle.contains(#""retry":"reopen""#))
    }

    @Test("events come from the moment the handle exists, and a released handle is gone")
    func events() async throws {
        let peer = await hypervisor()
        let spec = MachineSpec(id: "anyvisor-t-1", memory: .mib(16), boot: .kernel(kernel()))
        let request = Wire.Request(id: 2, method: "hypervisor.create", params: CreateParameters(spec: spec))
        let made = await peer.ask(String(decoding: try Wire.encode(request).dropLast(), as: UTF8.self))
        #expect(made.contains(#""handle":"m1""#))
        peer.send(#"{"jsonrpc":"2.0","id":3,"method":"machine.start","params":{"handle":"m1"}}"#)
        let lines = [await peer.next(), await peer.next()]
        #expect(lines.contains { $0.contains(#""event":{"state":"running"}"#) && $0.contains("$/event") })
        peer.send(#"{"jsonrpc":"2.0","method":"$/release","params":{"handle":"m1"}}"#)
        let gone = await peer.ask(#"{"jsonrpc":"2.0","id":4,"method":"machine.state","params":{"handle":"m1"}}"#)
        #expect(gone.contains("notFound"))
    }

    @Test("a plugin's environment has nothing but what is named")
    func environment() {
        let allowed: Set = [
            "PATH", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "LC_ALL", "XDG_RUNTIME_DIR", "XDG_STATE_HOME",
            "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "SSH_AUTH_SOCK",
        ]
        let names = PluginLaunch(name: "x", program: "/x", arguments: []).environment.keys
        #expect(
            names.filter { !allowed.contains($0) && $0.prefix(9) != "ANYVISOR_" && $0.prefix(11) != "LIBGUESTFS_" }
                == [])
        #expect(names.contains("ANYVISOR_PLUGIN") && names.contains("ANYVISOR_PLUGIN_INSTANCE"))
    }

    private func kernel() -> MachineSpec.KernelBoot {
        MachineSpec.KernelBoot(kernel: "/proc/self/exe", initrd: nil, commandLine: "")
    }
}
