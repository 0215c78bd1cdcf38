import Abstractions
import FoundationEssentials
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// The control socket of the appliance's QEMU. One thread at a time; blocks, for at most five seconds without a byte.
///
/// Source: QEMU, docs/interop/qmp-spec.rst. One JSON object a line each way; events come between the answers.
final class MachineMonitor {
    private let descriptor: Int32
    private var pending: [UInt8] = []
    /// Devices whose end was told before anybody asked for it.
    private var removed: Set<String> = []

    private struct Command<Arguments: Encodable>: Encodable {
        var execute: String
        var arguments: Arguments
    }

    private struct Nothing: Encodable {}

    private struct Message: Decodable {
        struct Failure: Decodable { var desc: String }
        struct Details: Decodable { var device: String? }
        var event: String?
        var data: Details?
        var error: Failure?
    }

    /// Connects and agrees on the protocol.
    ///
    /// - Throws: what the host says; `timeout` when QEMU does not answer.
    init(_ path: HostPath) throws {
        descriptor = try UnixSocket.connect(to: path, patience: .seconds(5))
        // The greeting comes by itself.
        _ = try receive()
        try execute("qmp_capabilities")
    }

    deinit { close(descriptor) }

    /// Runs a command without arguments.
    func execute(_ command: String) throws { try execute(command, Nothing()) }

    /// Runs a command.
    ///
    /// - Throws: `internal` with QEMU's own words, `timeout`, `crashed` when QEMU is gone.
    func execute(_ command: String, _ arguments: some Encodable) throws {
        let line = try JSONEncoder().encode(Command(execute: command, arguments: arguments))
        try send(Array(line) + [0x0a])
        while true {
            let message = try receive()
            if let failure = message.error {
                throw BackendError(.internal, "appliance.\(command)", "the appliance's QEMU says: \(failure.desc)")
            }
            if message.event == nil { return }
            note(message)
        }
    }

    /// Waits until a device that was told to go is gone.
    ///
    /// - Throws: `timeout`, `crashed`.
    func waitForRemoval(of device: String) throws {
        while removed.remove(device) == nil { note(try receive()) }
    }

    private func note(_ message: Message) {
        if message.event == "DEVICE_DELETED", let device = message.data?.device { removed.insert(device) }
    }

    // MARK: - The socket

    private func receive() throws -> Message {
        while true {
            if let end = pending.firstIndex(of: 0x0a) {
                let line = pending[..<end]
                pending = Array(pending[(end + 1)...])
                guard let message = try? JSONDecoder().decode(Message.self, from: Data(line)) else {
                    throw BackendError(.protocolViolation, "appliance", "the appliance's QEMU babbles", retry: .reopen)
                }
                return message
            }
            var part = [UInt8](repeating: 0, count: 4096)
            let count = recv(descriptor, &part, part.count, 0)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw lost(count) }
            pending += part[..<count]
        }
    }

    private func send(_ bytes: [UInt8]) throws {
        var done = 0
        while done < bytes.count {
            let count = bytes[done...].withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw lost(count) }
            done += count
        }
    }

    private func lost(_ count: Int) -> BackendError {
        if count < 0, errno == EAGAIN {
            return BackendError(.timeout, "appliance", "the appliance's QEMU does not answer", retry: .reopen)
        }
        return BackendError(.crashed, "appliance", "the appliance's QEMU is gone", retry: .reopen)
    }
}
