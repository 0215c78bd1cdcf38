import Abstractions
import VirtualDisk

#if canImport(Glibc)
    import Glibc
#endif

/// One client of the NBD server. A client that breaks the protocol loses its connection. One thread.
final class NBDConnection {
    private let descriptor: Int32
    private let view: StagedView
    private let activity: ActivityMeter
    /// What the client chose; the handshake ends with it.
    private var export = 0..<Int64(0)
    private var buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)

    /// The descriptor stays the caller's.
    init(_ descriptor: Int32, _ view: StagedView, _ activity: ActivityMeter) {
        self.descriptor = descriptor
        self.view = view
        self.activity = activity
    }

    deinit { buffer.deallocate() }

    /// Serves until the client goes.
    func serve() {
        guard handshake() else { return }
        while answer() {}
    }

    // MARK: - Handshake

    private func handshake() -> Bool {
        let greeting = NBD.bytes(NBD.magic) + NBD.bytes(NBD.optionMagic) + NBD.bytes(NBD.handshakeFlags)
        guard send(greeting), let flags = receive(4) else { return false }
        let skipsZeroes = NBD.number(flags, 0, as: UInt32.self) & 2 != 0
        while true {
            guard let head = receive(16), NBD.number(head, 0, as: UInt64.self) == NBD.optionMagic else { return false }
            let option = NBD.number(head, 8, as: UInt32.self)
            let length = NBD.number(head, 12, as: UInt32.self)
            guard length <= 8192, let data = receive(Int(length)) else { return false }
            switch option {
            case NBD.Option.exportName:
                guard choose(data) else { return false }
                let padding = [UInt8](repeating: 0, count: skipsZeroes ? 0 : 124)
                return send(NBD.bytes(UInt64(export.count)) + NBD.bytes(NBD.exportFlags) + padding)
            case NBD.Option.info, NBD.Option.go:
                guard choose(NBD.exportName(in: data)) else {
                    guard reply(option, NBD.Reply.unknown) else { return false }
                    continue
                }
                let info = NBD.bytes(UInt16(0)) + NBD.bytes(UInt64(export.count)) + NBD.bytes(NBD.exportFlags)
                guard reply(option, NBD.Reply.info, info), reply(option, NBD.Reply.acknowledge) else { return false }
                if option == NBD.Option.go { return true }
            case NBD.Option.abort:
                _ = reply(option, NBD.Reply.acknowledge)
                return false
            default:
                guard reply(option, NBD.Reply.unsupported) else { return false }
            }
        }
    }

    /// Turns to the volume with this name.
    private func choose(_ name: [UInt8]) -> Bool {
        guard let volume = view.volumes.first(where: { Array($0.id.rawValue.utf8) == name }) else { return false }
        export = volume.offset.bytes..<volume.offset.bytes + volume.size.bytes
        return true
    }

    private func reply(_ option: UInt32, _ kind: UInt32, _ data: [UInt8] = []) -> Bool {
        send(
            NBD.bytes(NBD.optionReplyMagic) + NBD.bytes(option) + NBD.bytes(kind) + NBD.bytes(UInt32(data.count)) + data
        )
    }

    // MARK: - Requests

    private struct Request {
        var command: UInt16
        var cookie: UInt64
        var offset: UInt64
        var length: Int
    }

    private func answer() -> Bool {
        guard let head = receive(28), NBD.number(head, 0, as: UInt32.self) == NBD.requestMagic else { return false }
        activity.note()
        let request = Request(
            command: NBD.number(head, 6, as: UInt16.self), cookie: NBD.number(head, 8, as: UInt64.self),
            offset: NBD.number(head, 16, as: UInt64.self), length: Int(NBD.number(head, 24, as: UInt32.self)))
        switch request.command {
        case NBD.Command.read: return read(request)
        case NBD.Command.write: return write(request)
        case NBD.Command.disconnect: return false
        // What is staged becomes durable with the session's commit, and no sooner.
        case NBD.Command.flush: return finish(request, view.failure.map { number(of: $0) } ?? 0)
        default: return finish(request, NBD.Failure.invalid)
        }
    }

    private func isInside(_ request: Request) -> Bool {
        request.length <= NBD.maximumLength && request.offset <= UInt64(export.count)
            && UInt64(request.length) <= UInt64(export.count) - request.offset
    }

    private func read(_ request: Request) -> Bool {
        guard isInside(request) else { return finish(request, NBD.Failure.invalid) }
        let part = room(request.length)
        do {
            try view.read(at: export.lowerBound + Int64(request.offset), into: part)
        } catch {
            return finish(request, number(of: error))
        }
        return finish(request, 0) && send(UnsafeRawBufferPointer(part))
    }

    private func write(_ request: Request) -> Bool {
        guard request.length <= NBD.maximumLength else { return false }
        let part = room(request.length)
        guard receive(into: part) else { return false }
        guard isInside(request) else { return finish(request, NBD.Failure.noSpace) }
        guard view.mode == .readWrite else { return finish(request, NBD.Failure.notPermitted) }
        do {
            try view.write(at: export.lowerBound + Int64(request.offset), from: UnsafeRawBufferPointer(part))
        } catch {
            return finish(request, number(of: error))
        }
        return finish(request, 0)
    }

    private func finish(_ request: Request, _ failure: UInt32) -> Bool {
        send(NBD.bytes(NBD.replyMagic) + NBD.bytes(failure) + NBD.bytes(request.cookie))
    }

    private func number(of error: any Error) -> UInt32 {
        (error as? BackendError)?.code == .noSpace ? NBD.Failure.noSpace : NBD.Failure.inputOutput
    }

    private func room(_ count: Int) -> UnsafeMutableRawBufferPointer {
        if count > buffer.count {
            buffer.deallocate()
            buffer = .allocate(byteCount: count, alignment: 4096)
        }
        return UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
    }

    // MARK: - The socket

    private func send(_ bytes: [UInt8]) -> Bool { bytes.withUnsafeBytes { send($0) } }

    private func send(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var done = 0
        while done < bytes.count {
            let count = Glibc.send(
                descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done, Int32(MSG_NOSIGNAL))
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return false }
            done += count
        }
        return true
    }

    private func receive(_ count: Int) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: count)
        return bytes.withUnsafeMutableBytes { receive(into: $0) } ? bytes : nil
    }

    private func receive(into bytes: UnsafeMutableRawBufferPointer) -> Bool {
        var done = 0
        while done < bytes.count {
            let count = recv(descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done, 0)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return false }
            done += count
        }
        return true
    }
}
