import Abstractions
import Host
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

// What comes from the plugin. All of this runs on the threads that read.

extension PluginProcess {
    func receive(_ line: [UInt8]) {
        let isFirst = state.withLock { state in
            state.lastSign = .now
            return state.handshake == nil
        }
        if isFirst {
            return settleHandshake(
                Result { try Wire.decode(Handshake.self, line) }.mapError { BackendError.wrapping($0, "handshake") })
        }
        guard let header = try? Wire.decode(Wire.Header.self, line) else { return violated(line) }
        if let id = header.id, header.method == nil { return answer(id, header, line) }
        switch header.method {
        case "$/progress": noteProgress(line)
        case "$/event": deliver(line)
        case "$/log": noteLog(line)
        default: violated(line)
        }
    }

    /// Events of a machine from now on.
    func events(_ handle: String, keeping object: RemoteObject) -> AsyncStream<MachineEvent> {
        let (stream, continuation) = AsyncStream.makeStream(
            of: MachineEvent.self, bufferingPolicy: .bufferingNewest(256))
        let (id, last) = state.withLock { state -> (Int, MachineEvent?) in
            let id = state.newID()
            let last = state.lastEvents[handle] ?? state.death.map { .lost($0) }
            if last == nil { state.events[handle, default: [:]][id] = continuation }
            return (id, last)
        }
        if let last {
            continuation.yield(last)
            continuation.finish()
        }
        // The handle must live as long as somebody listens.
        continuation.onTermination = { [weak self, object] _ in
            _ = self?.state.withLock { $0.events[object.handle]?.removeValue(forKey: id) }
        }
        return stream
    }

    func settleHandshake(_ result: Result<Handshake, BackendError>) {
        let waiter = state.withLock { state -> CheckedContinuation<Handshake, any Error>? in
            guard state.handshake == nil else { return nil }
            state.handshake = result
            defer { state.handshakeWaiter = nil }
            return state.handshakeWaiter
        }
        waiter?.resume(with: result.mapError { $0 as any Error })
    }

    func readErrors() {
        var chunk = [UInt8](repeating: 0, count: 1 << 14)
        while true {
            let count = read(child.errors, &chunk, chunk.count)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return }
            keep(chunk[..<count])
        }
    }

    private func answer(_ id: Int, _ header: Wire.Header, _ line: [UInt8]) {
        // Once we have decided to kill it, its death answers: a stopped plugin that is woken to die first says `cancelled`.
        guard state.withLock({ $0.verdict == nil }) else { return }
        // An answer that nobody waits for comes from a call that was cancelled.
        guard let call = finish(id) else { return }
        if let failure = header.error {
            call.continuation.resume(
                throwing: failure.data ?? BackendError(.internal, "plugin", failure.message, backend: name))
        } else {
            call.continuation.resume(returning: line)
        }
    }

    private func noteProgress(_ line: [UInt8]) {
        guard let notice = try? Wire.decode(Wire.Request<ProgressNotice>.self, line).params else {
            return violated(line)
        }
        guard let progress = notice.progress else { return }
        let sink = state.withLock { state -> ProgressSink? in
            state.pending[notice.id]?.lastProgress = .now
            return state.pending[notice.id]?.progress
        }
        sink?.report(progress)
    }

    private func deliver(_ line: [UInt8]) {
        guard let notice = try? Wire.decode(Wire.Request<EventNotice>.self, line).params else { return violated(line) }
        let isLast =
            switch notice.event {
            case .gone, .lost: true
            case .state: false
            }
        let listeners = state.withLock { state in
            if isLast { state.lastEvents[notice.handle] = notice.event }
            return isLast ? state.events.removeValue(forKey: notice.handle) : state.events[notice.handle]
        }
        for listener in (listeners ?? [:]).values {
            listener.yield(notice.event)
            if isLast { listener.finish() }
        }
    }

    private func noteLog(_ line: [UInt8]) {
        guard let notice = try? Wire.decode(Wire.Request<LogNotice>.self, line).params else { return violated(line) }
        keep(Array("\(notice.level): \(notice.message)\n".utf8)[...])
    }

    private func keep(_ bytes: ArraySlice<UInt8>) {
        errorTail.withLock { tail in
            tail.append(contentsOf: bytes)
            if tail.count > 8 << 10 { tail.removeFirst(tail.count - (8 << 10)) }
        }
    }

    private func violated(_ line: [UInt8]) {
        let start = String(decoding: line.prefix(200), as: UTF8.self)
        let verdict = BackendError(
            .protocolViolation, "wire", "plugin '\(name)' wrote something that is not the protocol: \(start)",
            backend: name)
        Task { await kill(verdict) }
    }
}
