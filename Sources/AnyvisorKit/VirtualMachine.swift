import Abstractions
import Host

/// A machine of your own, on whichever hypervisor there is; `anyvisor vm` and `anyvisor snapshot` see the same machines.
///
/// ```swift
/// let machine = VirtualMachine("box", config: .init(disk: "box.qcow2"))
/// try await machine.start()
/// try await machine.createSnapshot("clean")
/// ```
///
/// Each call reaches the hypervisor, does its work and lets go again, one at a time for each user; the machine lives on between calls,
/// and after the program's end. Errors are `BackendError`, or `CancellationError`.
public struct VirtualMachine: Sendable {
    /// Its name: 1 to 68 letters, digits, dots, underscores or dashes.
    public let name: String
    private let config: Configuration?
    private let access: MachineAccess

    /// What a machine is made of.
    public struct Configuration: Sendable {
        /// The disk image that it boots from and writes to.
        public var disk: String
        /// The image's format; told from its name and header when it is nil.
        public var format: ImageFormat?
        /// Memory.
        public var memory: ByteCount
        /// Virtual processors.
        public var cpus: Int
        /// Its network.
        public var network: MachineSpec.NetworkPolicy
        /// Describes a machine.
        public init(
            disk: String, format: ImageFormat? = nil, memory: ByteCount = .mib(512), cpus: Int = 1,
            network: MachineSpec.NetworkPolicy = .none
        ) {
            self.disk = disk
            self.format = format
            self.memory = memory
            self.cpus = cpus
            self.network = network
        }
    }

    /// Names a machine; nothing is made or looked at before the first call.
    ///
    /// - Parameters:
    ///   - uri: a libvirt connection such as `qemu:///session`; the preferred hypervisor that works when it is nil.
    ///   - config: what `start` makes the machine of when it is not there.
    ///   - hypervisors: names in the order to try.
    ///   - plugins: the one folder whose plugins are taken; see `DiskOperations`.
    public init(
        _ name: String, uri: String? = nil, config: Configuration? = nil, hypervisors: [String]? = nil,
        plugins: String? = nil
    ) {
        self.name = name
        self.config = config
        access = MachineAccess(
            hypervisors: hypervisors, uri: uri, plugins: plugins.map { HostFiles.absolute(HostPath($0)) })
    }

    /// Starts it, and makes it first when it is not there and there is a configuration.
    ///
    /// - Parameter replace: whether one of this name that is there is removed first; its disk image stays.
    /// - Throws: `notFound` without a configuration, `invalidState` when it runs, `unavailable` when no hypervisor works.
    public func start(replace: Bool = false) async throws {
        try await scoped {
            if replace {
                do { try await access.destroy(name) } catch let error as BackendError where error.code == .notFound {}
            }
            do {
                try await access.withMachine(name) { machine, _ in try await machine.start() }
            } catch let error as BackendError where error.code == .notFound {
                guard let config else { throw error }
                try await make(config)
                try await access.withMachine(name) { machine, _ in try await machine.start() }
            }
        }
    }

    /// The state now.
    ///
    /// - Throws: `notFound`.
    public func state() async throws -> MachineState { try await onMachine { try await $0.state() } }

    /// Asks the guest to power off, and cuts the power when it has not after this time.
    public func stop(within limit: Duration = .seconds(10)) async throws {
        try await onMachine { machine in
            try await CallDeadline.$current.withValue(.now + limit + .seconds(30)) {
                try await machine.stop(limit == .zero ? .force : .graceful(within: limit))
            }
        }
    }

    /// Takes a snapshot of its disks.
    ///
    /// - Parameter withMemory: the memory of the running guest too; `rollback` then takes both back.
    /// - Throws: `alreadyExists`, `unsupported` when the hypervisor or the disk's format holds none, `inUse`.
    public func createSnapshot(_ name: SnapshotID, withMemory: Bool = false) async throws {
        try await onSnapshots { try await $0.create(name, scope: withMemory ? .diskAndMemory : .disk) }
    }

    /// Its snapshots, parents before their children.
    public func snapshots() async throws -> [SnapshotSummary] { try await onSnapshots { try await $0.list() } }

    /// Takes the machine back to a snapshot; it must be off, unless the snapshot has the memory.
    ///
    /// - Throws: `notFound`, `invalidState`, `corrupt` when a disk is not what the snapshot holds afterwards.
    public func rollback(_ name: SnapshotID) async throws { try await onSnapshots { try await $0.restore(name) } }

    /// Removes a snapshot; its children move to its parent.
    ///
    /// - Throws: `notFound`.
    public func deleteSnapshot(_ name: SnapshotID) async throws { try await onSnapshots { try await $0.delete(name) } }

    /// Removes the machine and its snapshots; its disk image stays.
    public func destroy() async throws { try await scoped { try await access.destroy(name) } }

    private func make(_ config: Configuration) async throws {
        try await access.create(name) { spec, _ in
            spec.cpus = config.cpus
            spec.memory = config.memory
            spec.network = config.network
            let path = HostFiles.absolute(HostPath(config.disk))
            spec.disks = [
                DiskAttachment(try ImageName(path.string, format: config.format).image(), role: .system)
            ]
        }
    }

    private func onMachine<Value: Sendable>(
        _ body: @escaping @Sendable (any Machine) async throws -> Value
    ) async throws -> Value {
        try await scoped { try await access.withMachine(name) { machine, _ in try await body(machine) } }
    }

    private func onSnapshots<Value: Sendable>(
        _ body: @escaping @Sendable (any SnapshotFacet) async throws -> Value
    ) async throws -> Value {
        try await onMachine { machine in
            guard let snapshots = machine.snapshots else {
                throw BackendError(.unsupported, "snapshots", "the hypervisor of machine '\(machine.id)' takes none")
            }
            return try await body(snapshots)
        }
    }

    private func scoped<Value: Sendable>(_ body: @Sendable () async throws -> Value) async throws -> Value {
        // What is left of the scope goes with `anyvisor reap`.
        try await WorkScope().run(leftover: { _ in }) { _ in try await body() }
    }
}
