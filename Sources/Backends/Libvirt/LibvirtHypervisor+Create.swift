import Abstractions
import BackendSupport
import Clibvirt
import Host
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

extension LibvirtHypervisor {
    func create(_ spec: MachineSpec) async throws -> any Machine {
        var spec = spec.withAbsolutePaths
        try spec.validate()
        try refuse(spec)
        try demandRequirements("machine.create")
        let emulator = try emulator()
        let connection = try await connection()
        try refuseRemote(spec, connection)
        if features(connection).contains(.console) {
            spec.consoleLog = try spec.consoleLog ?? privateConsole(spec.id, connection)
        }
        let uuid = randomUUID()
        let files = dialect.needsVirtualBoxFiles ? try filesFolder(uuid) : nil
        do {
            if let files { spec = try await make(files, for: spec) }
            return try await create(spec, uuid, emulator, connection)
        } catch {
            if let files { try? HostFiles.removeTree(files) }
            throw error
        }
    }

    private func create(
        _ spec: MachineSpec, _ uuid: String, _ emulator: HostPath?, _ connection: LibvirtConnection
    ) async throws -> LibvirtMachine {
        let xml = try DomainXML(
            dialect: dialect, spec: spec, uuid: uuid, emulator: emulator, console: spec.consoleLog,
            bus: options["bus"].flatMap { DiskBus(rawValue: $0) } ?? dialect.bus(spec.boot),
            cache: options["cache"] ?? "unsafe"
        ).document()
        let record = connection.machines.record(spec.id, uuid: uuid)
        let leftConsole = Mutex<HostPath?>(nil)
        do {
            try await connection.worker.call("machine.create") { [self, spec] in
                try CapabilityCache.fill(connection, emulator, dialect)
                let isNew = try define(spec, xml, dialect.domainType, connection)
                leftConsole.withLock { $0 = isNew ? spec.consoleLog : nil }
            } abandoned: {
                // Nobody waited, and it went well: what it made is taken away behind it.
                removeLeftover(uuid, connection)
                if let console = leftConsole.withLock({ $0 }) { unlink(console.string) }
            }
        } catch {
            connection.machines.remove(uuid)
            throw error
        }
        return LibvirtMachine(record, connection, dialect, console: spec.consoleLog)
    }

    /// Where the files of a machine go that stand for what VirtualBox does not take.
    private func filesFolder(_ uuid: String) throws -> HostPath {
        let folder = (RunScope.current?.work ?? HostEnvironment.state).appending("vbox").appending(uuid)
        if let scope = RunScope.current, !folder.string.hasPrefix("\(scope.folder)/") {
            try scope.journal.append(.path(folder))
        }
        return folder
    }

    private func make(_ folder: HostPath, for spec: MachineSpec) async throws -> MachineSpec {
        try spec.checkFiles()
        try HostFiles.makeDirectories(folder, mode: 0o700)
        let files = VirtualBoxFiles(in: folder)
        try await files.make(for: spec)
        return files.standing(in: spec)
    }

    private func refuse(_ spec: MachineSpec) throws {
        if case .kernel = spec.boot, !dialect.features.contains(.kernelBoot), dialect.features.contains(.executesGuests)
        {
            if dialect.needsVirtualBoxFiles { throw KernelDisc.refusal }
            throw BackendError(.unsupported, "machine.create", "\(dialect.name) cannot boot a kernel of the host")
        }
        if spec.network == .user, !dialect.hasUserNetwork {
            throw BackendError(
                .unsupported, "machine.create",
                "\(dialect.name) has no user network; leave `network` out, or use another backend, for example qemu",
                blame: .caller)
        }
        for disk in spec.disks where !dialect.formats.contains(disk.image.format) {
            let known = dialect.formats.map(\.rawValue).joined(separator: ", ")
            throw BackendError(
                .unsupported, "machine.create",
                "\(dialect.name) takes no \(disk.image.format) disk (\(disk.image.path)), only \(known)")
        }
    }

    /// A libvirt of another host would look for the files there: it may find none, or others that have the same names.
    private func refuseRemote(_ spec: MachineSpec, _ connection: LibvirtConnection) throws {
        guard !connection.isLocal, dialect.features.contains(.executesGuests), let file = spec.hostFiles.first else {
            return
        }
        throw BackendError(
            .unsupported, "machine.create",
            "the machines of \(connection.uri) run on another host, which does not have this host's \(file); "
                + "make the machine there, and start and stop it from here", blame: .caller)
    }

    private func privateConsole(_ id: MachineID, _ connection: LibvirtConnection) throws -> HostPath {
        let folder = connection.root?.consoles ?? HostEnvironment.state.appending("consoles")
        try HostFiles.makeDirectories(folder, mode: 0o700)
        return folder.appending("\(id).log")
    }
}

/// Makes the domain; runs on the connection's worker. True when the console's file is new.
private func define(
    _ spec: MachineSpec, _ xml: String, _ domainType: String, _ connection: LibvirtConnection
) throws -> Bool {
    try connection.withPointer("machine.create") { pointer in
        // A definition with a known name and another uuid is refused by libvirt; asking first gives the better message.
        if let known = virDomainLookupByName(pointer, spec.id.rawValue) {
            virDomainFree(known)
            throw BackendError(
                .alreadyExists, "machine.create", "there is a machine '\(spec.id)' already", blame: .caller)
        }
        let most = virConnectGetMaxVcpus(pointer, domainType)
        if most > 0, spec.cpus > Int(most) {
            throw BackendError(
                .invalidArgument, "machine.create",
                "machine '\(spec.id)' wants \(spec.cpus) cpus, at most \(most) are to be had")
        }
        if connection.isLocal { try spec.checkFiles() }
        if connection.root == nil, let scope = RunScope.current {
            try scope.journal.append(.domain(uri: connection.uri, name: spec.id.rawValue))
        }
        let madeConsole = connection.isLocal ? try spec.consoleLog.map(ConsoleFile.begin) ?? false : false
        guard let domain = OrphanReaper.watching({ virDomainDefineXML(pointer, xml) }) else {
            let failure = libvirtError("machine.create", "cannot define machine '\(spec.id)'")
            if madeConsole, let console = spec.consoleLog { unlink(console.string) }
            throw failure
        }
        virDomainFree(domain)
        return madeConsole
    }
}

/// Takes away a domain that nobody waits for.
private func removeLeftover(_ uuid: String, _ connection: LibvirtConnection) {
    try? connection.withPointer("machine.create") { pointer in
        guard let domain = virDomainLookupByUUIDString(pointer, uuid) else { return }
        virDomainUndefine(domain)
        virDomainFree(domain)
    }
}
