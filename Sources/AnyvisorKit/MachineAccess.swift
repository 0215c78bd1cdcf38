import Abstractions
import Filters
import Host

/// How machines outside a run are reached: `anyvisor vm`, `anyvisor snapshot` and `VirtualMachine` work on the same ones.
package struct MachineAccess: Sendable {
    /// The hypervisors to try, nil for the preferred ones.
    package var hypervisors: [String]?
    /// A libvirt connection, nil for the hypervisor's own.
    package var uri: String?
    /// The one folder whose plugins are taken, nil for all that are found.
    package var plugins: HostPath?

    /// Chooses the hypervisors.
    ///
    /// - Parameter uri: when no hypervisor is named, the one that the URI begins with.
    package init(hypervisors: [String]? = nil, uri: String? = nil, plugins: HostPath? = nil) {
        self.hypervisors = hypervisors ?? uri.map { [String($0.prefix { $0 != ":" && $0 != "+" })] }
        self.uri = uri
        self.plugins = plugins
    }

    /// Runs `body` with each hypervisor of the chain until one does not say `unavailable` or `unsupported`, after whoever has the
    /// machines now; the embedded driver allows one process.
    ///
    /// - Throws: what the last one says, what `body` throws.
    package func withHypervisor<Value: Sendable>(
        _ body: @escaping @Sendable (any Hypervisor, MachineStore) async throws -> Value
    ) async throws -> Value {
        let store = try MachineStore()
        let lock = try await store.lock()
        defer { withExtendedLifetime(lock) {} }
        let catalogue = try Catalogue.load(plugins: plugins)
        let names = try catalogue.hypervisorNames(hypervisors)
        for (number, name) in names.enumerated() {
            do {
                return try await with(name, store, catalogue, body)
            } catch let error as BackendError
                where [.unavailable, .unsupported].contains(error.code) && number < names.count - 1
            {
                continue
            }
        }
        throw BackendError(.invalidArgument, "vm", "no hypervisor is named", blame: .caller)
    }

    private func with<Value: Sendable>(
        _ name: String, _ store: MachineStore, _ catalogue: Catalogue,
        _ body: @escaping @Sendable (any Hypervisor, MachineStore) async throws -> Value
    ) async throws -> Value {
        // Only what has no daemon needs a folder in which its machines are found again.
        let declared = catalogue.registry.find(name, .hypervisor)?.options ?? []
        var options = declared.contains { $0.name == "root" } ? ["root": store.libvirtRoot.string] : [:]
        if let uri { options = ["uri": uri] }
        let hypervisor = try await catalogue.hypervisor(name, options: options)
        do {
            let value = try await body(hypervisor, store)
            await hypervisor.close()
            return value
        } catch {
            await hypervisor.close()
            throw error
        }
    }

    /// Like `withHypervisor`, for a machine that exists.
    ///
    /// - Throws: `notFound` when no hypervisor of the chain has it.
    package func withMachine<Value: Sendable>(
        _ name: String, _ body: @escaping @Sendable (any Machine, MachineStore) async throws -> Value
    ) async throws -> Value {
        try await withHypervisor { hypervisor, store in
            guard let machine = try await hypervisor.machine(store.id(name)) else {
                throw BackendError(
                    .notFound, "vm", "there is no machine '\(name)'; `anyvisor vm list` shows those there are",
                    blame: .caller)
            }
            return try await body(machine, store)
        }
    }

    /// Makes a machine that does not exist yet.
    ///
    /// - Parameter equip: completes the spec, which has a name and a console.
    /// - Throws: `alreadyExists`, what `equip` and the hypervisor throw; nothing is then left of it.
    package func create(
        _ name: String, _ equip: @escaping @Sendable (inout MachineSpec, MachineStore) async throws -> Void
    ) async throws {
        try await withHypervisor { hypervisor, store in
            if try await hypervisor.machine(store.id(name)) != nil {
                throw BackendError(
                    .alreadyExists, "vm.create", "a machine '\(name)' exists; `anyvisor vm destroy` removes it",
                    blame: .caller)
            }
            var spec = MachineSpec(id: store.id(name), consoleLog: store.console(name))
            do {
                try await equip(&spec, store)
                _ = try await hypervisor.create(spec)
            } catch {
                store.forget(name)
                throw error
            }
        }
    }

    /// Removes a machine with all that `create` made for it.
    ///
    /// - Throws: `notFound`, what the hypervisor says.
    package func destroy(_ name: String) async throws {
        try await withMachine(name) { machine, store in
            try await machine.destroy()
            store.forget(name)
        }
    }
}
