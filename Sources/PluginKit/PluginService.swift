import Abstractions
import Host
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// Runs the requests of one connection, each as a task of its own, and writes their answers.
final class PluginService: Sendable {
    private let descriptor: BackendDescriptor
    let channel: LineChannel
    private let running = Mutex<[Int: Task<Void, Never>]>([:])
    private let backend = Mutex<Backend?>(nil)

    enum Backend: Sendable {
        case hypervisor(HypervisorService)
        case disk(DiskService)
    }

    init(_ descriptor: BackendDescriptor, _ channel: LineChannel) {
        self.descriptor = descriptor
        self.channel = channel
    }

    /// Takes a line; returns at once.
    func receive(_ line: [UInt8]) {
        guard let header = try? Wire.decode(Wire.Header.self, line), let method = header.method else { return }
        if method == "$/cancel" {
            let notice = try? Wire.decode(Wire.Request<CancelNotice>.self, line)
            if let notice { running.withLock { $0[notice.params.id]?.cancel() } }
            return
        }
        if method == "$/release" {
            let notice = try? Wire.decode(Wire.Request<HandleParameters>.self, line)
            if let notice { release(notice.params.handle) }
            return
        }
        guard let id = header.id else { return }
        // The lock is held over the start, so that a fast task cannot remove itself before it is entered.
        running.withLock { running in
            running[id] = Task { [self] in
                await answer(Call(id: id, method: method, line: line, channel: channel))
                _ = self.running.withLock { $0.removeValue(forKey: id) }
            }
        }
    }

    /// Says once a second of each call that it is under way, so that the host can tell a slow plugin from a stopped one.
    ///
    /// Belongs on a thread of its own, which no backend can hold up; returns when the host is gone.
    func pulse() {
        while true {
            sleep(1)
            for id in running.withLock({ Array($0.keys) }) {
                let notice = Wire.Request(id: nil, method: "$/progress", params: ProgressNotice(id: id, progress: nil))
                guard let line = try? Wire.encode(notice), (try? channel.write(line)) != nil else { return }
            }
        }
    }

    /// Closes the backend.
    func close() async {
        running.withLock { $0.values.forEach { $0.cancel() } }
        switch backend.withLock({ $0 }) {
        case .hypervisor(let service): await service.hypervisor.close()
        case .disk(let service): await service.disk.close()
        case nil: break
        }
    }

    private func release(_ handle: String) {
        switch backend.withLock({ $0 }) {
        case .hypervisor(let service): service.release(handle)
        case .disk(let service): service.release(handle)
        case nil: break
        }
    }

    private func answer(_ call: Call) async {
        do {
            let deadline = try call.parameters(DeadlineOnly.self).deadlineMs
            let instant = deadline.map { ContinuousClock.now + .milliseconds($0) }
            let line = try await CallDeadline.$current.withValue(instant) { try await dispatch(call) }
            try channel.write(line)
        } catch {
            let known = BackendError.wrapping(error, call.method).named(descriptor.name)
            let failure = Wire.Failure(id: call.id, error: .init(message: known.message, data: known))
            if let line = try? Wire.encode(failure) { try? channel.write(line) }
        }
    }

    private func dispatch(_ call: Call) async throws -> [UInt8] {
        if call.method == "initialize" { return try await initialize(call) }
        switch backend.withLock({ $0 }) {
        case .hypervisor(let service): return try await service.dispatch(call)
        case .disk(let service): return try await service.dispatch(call)
        case nil: throw BackendError(.invalidState, call.method, "initialize comes first")
        }
    }

    private func initialize(_ call: Call) async throws -> [UInt8] {
        guard backend.withLock({ $0 == nil }) else {
            throw BackendError(.invalidState, call.method, "initialize comes once")
        }
        let given = try call.parameters(InitializeParameters.self).options
        let options = try OptionValues(given, declared: descriptor.options)
        let made: Backend =
            switch descriptor.factory {
            case .hypervisor(let make): .hypervisor(HypervisorService(try await make(options), channel))
            case .disk(let make): .disk(DiskService(try await make(options)))
            }
        backend.withLock { $0 = made }
        return try call.result(Wire.Empty())
    }
}

private struct DeadlineOnly: Codable, Sendable {
    var deadlineMs: Int64?
}

/// One request.
struct Call: Sendable {
    var id: Int
    var method: String
    var line: [UInt8]
    var channel: LineChannel

    func parameters<Parameters: Codable & Sendable>(_ type: Parameters.Type) throws -> Parameters {
        do {
            return try Wire.decode(Wire.Request<Parameters>.self, line).params
        } catch {
            throw BackendError(.invalidArgument, method, "the parameters of '\(method)' are not as documented")
        }
    }

    func result(_ value: some Codable & Sendable) throws -> [UInt8] {
        try Wire.encode(Wire.Answer(id: id, result: value))
    }

    /// Where the progress of this call goes.
    var progress: ProgressSink {
        ProgressSink { [id, channel] progress in
            let notice = Wire.Request(id: nil, method: "$/progress", params: ProgressNotice(id: id, progress: progress))
            if let line = try? Wire.encode(notice) { try? channel.write(line) }
        }
    }

    func unknownMethod() -> BackendError {
        BackendError(.unsupported, method, "no method '\(method)' here")
    }

    func missingFacet(_ name: String) -> BackendError {
        BackendError(.unsupported, method, "this object has no \(name)")
    }
}
