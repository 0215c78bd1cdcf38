import Abstractions
import BackendSupport
import Clibvirt
import Host
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// Drives the machines of one hypervisor through libvirt.
///
/// The connection is opened by the first call that needs it, and once.
final class LibvirtHypervisor: Hypervisor {
    let dialect: LibvirtDialect
    let options: OptionValues

    private struct State {
        var opening: Task<LibvirtConnection, any Error>?
        var isClosed = false
    }
    private let state = Mutex(State())

    init(_ dialect: LibvirtDialect, _ options: OptionValues) {
        self.dialect = dialect
        self.options = options
    }

    /// The open connection.
    ///
    /// - Throws: `invalidState` after `close`, and what `LibvirtConnection.open` throws; the next call then tries again.
    func connection() async throws -> LibvirtConnection {
        // A driver in this process can be asked what it knows without them; behind an URI there is nobody to ask.
        if case .uri = dialect.home { try demandRequirements("libvirt.open") }
        if case .uri(let uri) = home { try demandDriver(of: uri) }
        let opening = try state.withLock { state in
            guard !state.isClosed else {
                throw BackendError(.invalidState, "libvirt.open", "the backend '\(dialect.name)' is closed")
            }
            if let opening = state.opening { return opening }
            let opening = Task { [home, options] in
                try await LibvirtConnection.open(home, root: options["root"].map { HostPath($0) })
            }
            state.opening = opening
            return opening
        }
        do {
            let connection = try await opening.value
            guard connection.isLost else { return connection }
            // The daemon went away; machines that were handed out stay lost, new calls get a new connection.
            let isFirst = state.withLock { state in
                guard state.opening == opening else { return false }
                state.opening = nil
                return true
            }
            if isFirst { await connection.close() }
            return try await self.connection()
        } catch {
            state.withLock { if $0.opening == opening { $0.opening = nil } }
            throw error
        }
    }

    private var home: LibvirtDialect.Home {
        guard let uri = options["uri"], !uri.isEmpty else { return dialect.home }
        return .uri(uri)
    }

    /// - Throws: `invalidArgument` for a connection to another kind of hypervisor, which would have none of its machines.
    private func demandDriver(of uri: String) throws {
        let driver = LibvirtDialect.driver(of: uri)
        guard driver.isEmpty || driver == dialect.driver else {
            throw BackendError(
                .invalidArgument, "libvirt.open",
                "'\(uri)' is no connection of hypervisor '\(dialect.name)', its own begin with '\(dialect.driver)'; "
                    + "name the hypervisor that belongs to it, or leave the name out", blame: .caller)
        }
    }

    /// What must be on this host; nothing when the machines are on another one.
    var requirements: [Finding] {
        if case .uri(let uri) = home, !LibvirtConnection.isLocal(uri) { return [] }
        return dialect.requirements()
    }

    /// - Throws: `unavailable` for the first requirement that is not met, with its remedy.
    func demandRequirements(_ operation: String) throws {
        guard let finding = requirements.first(where: { $0.isObstacle }) else { return }
        let remedy = finding.remedy.map { "; \($0)" } ?? ""
        throw BackendError(
            .unavailable, operation, "\(finding.subject): \(finding.detail)\(remedy)", backend: dialect.name,
            blame: .host)
    }

    /// The program that runs machines, nil where the driver has none or finds it itself.
    ///
    /// - Throws: `unavailable` when it is not installed.
    func emulator() throws -> HostPath? {
        guard let usual = dialect.emulator else { return nil }
        if let wish = options["emulator"] {
            guard let program = HostEnvironment.program(wish) else {
                throw BackendError(.unavailable, "machine.create", "there is no program \(wish)", blame: .host)
            }
            return HostFiles.absolute(program)
        }
        // Behind another URI the emulator is that host's business.
        if case .uri = home { return nil }
        guard let program = HostEnvironment.program(usual) else {
            throw BackendError(
                .unavailable, "machine.create",
                "\(usual) is not installed; on Debian: apt-get install qemu-system-x86", blame: .host)
        }
        return program
    }

    func info() async throws -> HypervisorInfo {
        let connection = try await connection()
        let emulator = try emulator()
        return try await connection.worker.call("hypervisor.info") { [self] in
            try CapabilityCache.fill(connection, emulator, dialect)
            return try connection.withPointer("hypervisor.info") { pointer in
                var version: UInt = 0
                let known = OrphanReaper.watching { virConnectGetVersion(pointer, &version) } == 0 && version > 0
                let hypervisor = dialect.product.map { known ? "\($0) \(LibvirtRuntime.text(version)), " : "" } ?? ""
                let most = virConnectGetMaxVcpus(pointer, dialect.domainType)
                return HypervisorInfo(
                    name: dialect.name, version: "\(hypervisor)libvirt \(LibvirtRuntime.version)",
                    features: features(connection), diskFormats: dialect.formats,
                    snapshotFormats: dialect.snapshotFormats, maximumCPUs: max(1, Int(most)),
                    translatesCode: dialect.translatesCode)
            }
        }
    }

    func features(_ connection: LibvirtConnection) -> Set<Feature> { dialect.features(isLocal: connection.isLocal) }

    func machine(_ id: MachineID) async throws -> (any Machine)? {
        guard id.isValid else { return nil }
        let connection = try await connection()
        let found = try await connection.worker.call("hypervisor.machine") {
            try connection.withPointer("hypervisor.machine") { pointer -> (MachineRecord, HostPath?)? in
                guard let domain = virDomainLookupByName(pointer, id.rawValue) else {
                    if lastLookupFoundNothing(in: connection.uri) { return nil }
                    throw libvirtError("hypervisor.machine", "cannot look up machine '\(id)'")
                }
                defer { virDomainFree(domain) }
                let record = connection.machines.record(id, uuid: try uuid(of: domain))
                return (record, try description(of: domain, "hypervisor.machine").consoleFile)
            }
        }
        return found.map { LibvirtMachine($0.0, connection, dialect, console: $0.1) }
    }

    func machines(ownedBy owner: OwnerTag) async throws -> [MachineSummary] {
        let connection = try await connection()
        let found = try await connection.worker.call("hypervisor.machines") {
            try connection.withAllDomains("hypervisor.machines") { summary(of: $0, owner, connection) }
        }
        return found.sorted { $0.id.rawValue < $1.id.rawValue }
    }

    func close() async {
        let opening = state.withLock { state in
            state.isClosed = true
            defer { state.opening = nil }
            return state.opening
        }
        if let connection = try? await opening?.value { await connection.close() }
    }
}

/// A domain of the list; nil when it is not the owner's, or went away meanwhile.
private func summary(
    of domain: OpaquePointer, _ owner: OwnerTag, _ connection: LibvirtConnection
) -> MachineSummary? {
    guard let name = virDomainGetName(domain) else { return nil }
    let id = MachineID(String(cString: name))
    var (code, reason): (Int32, Int32) = (0, 0)
    guard owner.owns(id), let uuid = try? uuid(of: domain), virDomainGetState(domain, &code, &reason, 0) == 0 else {
        return nil
    }
    return MachineSummary(id: id, state: connection.machines.record(id, uuid: uuid).state(code, reason))
}

/// A domain's uuid as text.
func uuid(of domain: OpaquePointer) throws -> String {
    var buffer = [CChar](repeating: 0, count: Int(VIR_UUID_STRING_BUFLEN))
    guard virDomainGetUUIDString(domain, &buffer) == 0 else {
        throw libvirtError("libvirt.uuid", "a domain has no uuid")
    }
    return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// What a domain's XML says, the stored one unless flags say otherwise.
func description(
    of domain: OpaquePointer, _ operation: String, _ flags: virDomainXMLFlags = VIR_DOMAIN_XML_INACTIVE
) throws -> DomainDescription {
    guard let text = virDomainGetXMLDesc(domain, flags.rawValue) else {
        throw libvirtError(operation, "cannot read the description of a machine")
    }
    defer { free(text) }
    return DomainDescription(String(cString: text))
}
