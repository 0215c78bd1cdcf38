import Abstractions
import BackendSupport
import Clibvirt
import Host
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// One open connection to libvirt.
///
/// libvirt's handles may be used on any thread; each call here runs on one worker thread, so that its error is read where it
/// was made. The connection's own worker does what concerns all machines; each machine has a worker, so that one that hangs
/// hangs alone.
final class LibvirtConnection: @unchecked Sendable {
    // The pointer is libvirt's own counted object, which is safe between threads.
    private let pointer: OpaquePointer
    /// The worker for what concerns no single machine.
    let worker: LibvirtWorker
    /// The root of the embedded driver, nil for any other.
    let root: EmbeddedRoot?
    /// What the connection was opened with.
    let uri: String
    /// The machines that were seen through it.
    let machines: MachineTable
    private let isClosed = Mutex(false)
    private let events: DomainEvents
    /// The number of the callback; nil when it stays with the process.
    private let callback: Int32?
    /// Whether its driver tells of no events, so that machines are looked at instead.
    let isSilent: Bool
    private let watching = Mutex<Task<Void, Never>?>(nil)

    /// A connection of its own.
    private init(pointer: OpaquePointer, worker: LibvirtWorker, uri: String) throws {
        self.pointer = pointer
        self.worker = worker
        self.uri = uri
        root = nil
        machines = MachineTable(marks: nil)
        events = DomainEvents()
        let number = events.listen(pointer)
        isSilent = number < 0 && lastLibvirtError(is: VIR_ERR_NO_SUPPORT)
        guard number >= 0 || isSilent else { throw libvirtError("libvirt.open", "\(uri) reports no events") }
        callback = number < 0 ? nil : number
        events.add(machines)
        watchDaemon()
        if isSilent { watchMachines() }
    }

    /// A share of the process's connection to the embedded driver.
    private init(_ root: EmbeddedRoot, _ driver: EmbeddedRoot.Driver, worker: LibvirtWorker) {
        pointer = driver.pointer
        self.worker = worker
        self.root = root
        uri = root.uri
        machines = MachineTable(marks: root.started)
        events = driver.events
        callback = nil
        isSilent = false
        events.add(machines)
    }

    /// Looks five times a second at the machines that somebody listens to.
    private func watchMachines() {
        let task = Task { [weak self] in
            while (try? await Task.sleep(for: .milliseconds(200))) != nil {
                guard let self else { return }
                for record in machines.listened { await look(at: record) }
            }
        }
        watching.withLock { $0 = task }
    }

    private func look(at record: MachineRecord) async {
        do {
            // Not before what is at work on the machine has told of it itself.
            try await record.call("machine.events") {
                try self.withDomain("machine.events", record) { record.observe(try currentState($0, record)) }
            }
        } catch let error as BackendError where error.code == .notFound {
            record.end(.gone)
            machines.remove(record.uuid)
        } catch {
            // A daemon that is gone ends the streams itself; one that does not answer now may do so the next time.
        }
    }

    /// Hears of a daemon that goes away; the embedded driver and some others have none, and say so.
    private func watchDaemon() {
        let table = Unmanaged.passRetained(machines)
        let status = virConnectRegisterCloseCallback(
            pointer,
            { _, _, opaque in
                guard let opaque else { return }
                Unmanaged<MachineTable>.fromOpaque(opaque).takeUnretainedValue()
                    .loseAll(daemonIsGone("libvirt"), daemonIsGone: true)
            }, table.toOpaque(), { $0.map { Unmanaged<MachineTable>.fromOpaque($0).release() } })
        if status != 0 { table.release() }
    }

    /// Whether machines run on this host, so that their files and processes can be looked at.
    var isLocal: Bool { LibvirtConnection.isLocal(uri) }

    /// Whether an URI names a libvirt of this host.
    static func isLocal(_ uri: String) -> Bool {
        guard let scheme = uri.split(separator: ":").first else { return false }
        let rest = uri.dropFirst(scheme.count)
        return !scheme.contains("+") ? rest.hasPrefix(":///") : scheme.hasSuffix("+unix") && rest.hasPrefix(":///")
    }

    /// Opens a connection.
    ///
    /// - Parameter home: an URI, or the embedded driver in `root`.
    /// - Throws: `unavailable`, `permissionDenied`, `inUse`, or what libvirt says.
    static func open(_ home: LibvirtDialect.Home, root wish: HostPath?) async throws -> LibvirtConnection {
        let worker = LibvirtWorker("the connection to libvirt")
        // A connection that opens after its caller has given up belongs to nobody.
        let late = Mutex<LibvirtConnection?>(nil)
        do {
            return try await worker.call("libvirt.open") {
                let connection = try openBlocking(home, wish, worker)
                late.withLock { $0 = connection }
                return connection
            } abandoned: {
                late.withLock { $0 }?.closeBlocking()
            }
        } catch {
            worker.close()
            throw error
        }
    }

    private static func openBlocking(
        _ home: LibvirtDialect.Home, _ wish: HostPath?, _ worker: LibvirtWorker
    ) throws -> LibvirtConnection {
        switch home {
        case .uri(let uri):
            try LibvirtRuntime.start(log: nil)
            return try LibvirtConnection(pointer: try connect(uri), worker: worker, uri: uri)
        case .embedded:
            let root = try EmbeddedRoot.enter(wish)
            do {
                OrphanReaper.start()
                let driver = try root.driver {
                    try OrphanReaper.watching { try OneCPU.running { try connect(root.uri) } }
                }
                return LibvirtConnection(root, driver, worker: worker)
            } catch {
                root.leave(isIdle: true)
                throw error
            }
        }
    }

    private static func connect(_ uri: String) throws -> OpaquePointer {
        guard let pointer = virConnectOpen(uri) else {
            throw libvirtError("libvirt.open", "cannot connect to \(uri)")
        }
        return pointer
    }

    /// Runs `body` with the connection on the current thread, which must be a worker's.
    ///
    /// - Throws: `invalidState` after `close`, and what `body` throws.
    func withPointer<Value>(_ operation: String, _ body: (OpaquePointer) throws -> Value) throws -> Value {
        let isOpen = isClosed.withLock { closed in
            if !closed { virConnectRef(pointer) }
            return !closed
        }
        guard isOpen else { throw BackendError(.invalidState, operation, "the connection to libvirt is closed") }
        defer { virConnectClose(pointer) }
        if isLost { throw daemonIsGone(operation) }
        return try body(pointer)
    }

    /// Runs `body` with a domain on the current thread.
    ///
    /// - Throws: `notFound` when there is none with this uuid, and what `body` throws.
    func withDomain<Value>(
        _ operation: String, _ record: MachineRecord, _ body: (OpaquePointer) throws -> Value
    ) throws -> Value {
        try withPointer(operation) { connection in
            guard let domain = virDomainLookupByUUIDString(connection, record.uuid) else {
                if lastLookupFoundNothing(in: uri) { throw record.notFound(operation) }
                throw libvirtError(operation, "cannot look up machine '\(record.id)'")
            }
            defer { virDomainFree(domain) }
            return try body(domain)
        }
    }

    /// Runs `body` for each domain there is, on the current thread, and gives what it finds.
    ///
    /// - Throws: what libvirt says, and what `body` throws.
    func withAllDomains<Value>(_ operation: String, _ body: (OpaquePointer) throws -> Value?) throws -> [Value] {
        try withPointer(operation) { pointer in
            var list: UnsafeMutablePointer<OpaquePointer?>?
            let count = virConnectListAllDomains(pointer, &list, 0)
            guard count >= 0 else { throw libvirtError(operation, "cannot list machines") }
            let domains = (0..<Int(count)).compactMap { list?[$0] }
            free(list)
            defer { domains.forEach { virDomainFree($0) } }
            return try domains.compactMap(body)
        }
    }

    /// The machines there are, with what their stored XML says.
    func descriptions(_ operation: String) throws -> [(name: String, uuid: String, description: DomainDescription)] {
        try withAllDomains(operation) { domain in
            // One that goes away meanwhile has no disks any more.
            guard let name = virDomainGetName(domain), let uuid = try? uuid(of: domain) else { return nil }
            guard let known = try? description(of: domain, operation) else { return nil }
            return (String(cString: name), uuid, known)
        }
    }

    /// Whether no answer can come any more.
    var isLost: Bool { machines.isLost }

    /// Closes it; machines stay as they are, their event streams end.
    func close() async {
        watching.withLock { $0 }?.cancel()
        machines.loseAll(
            BackendError(.unavailable, "libvirt.close", "the connection to libvirt was closed"), daemonIsGone: false)
        _ = try? await worker.call("libvirt.close") { self.closeBlocking() }
        worker.close()
    }

    private func closeBlocking() {
        let first = isClosed.withLock { closed in
            defer { closed = true }
            return !closed
        }
        guard first else { return }
        let isIdle = virConnectNumOfDomains(pointer) == 0
        events.remove(machines)
        if let callback { virConnectDomainEventDeregisterAny(pointer, callback) }
        virConnectClose(pointer)
        root?.leave(isIdle: isIdle)
    }
}

private func daemonIsGone(_ operation: String) -> BackendError {
    BackendError(.unavailable, operation, "libvirt's daemon is gone", retry: .reopen)
}
