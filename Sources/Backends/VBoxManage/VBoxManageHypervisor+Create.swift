import Abstractions
import BackendSupport
import Host

extension VBoxManageHypervisor {
    func create(_ spec: MachineSpec) async throws -> any Machine {
        try checkOpen("machine.create")
        let spec = spec.withAbsolutePaths
        try spec.validate()
        try refuse(spec)
        return try await creating.run { [self] in
            if try await find(spec.id, "machine.create") != nil {
                throw BackendError(
                    .alreadyExists, "machine.create", "there is a machine '\(spec.id)' already", blame: .caller)
            }
            let most = try await maximumCPUs("machine.create")
            guard spec.cpus <= most else {
                throw BackendError(
                    .invalidArgument, "machine.create",
                    "machine '\(spec.id)' wants \(spec.cpus) cpus, at most \(most) are to be had")
            }
            try spec.checkFiles()
            let layout = MachineLayout(spec, folder: MachineFolder(path: root.appending(spec.id.rawValue)))
            return try await make(layout)
        }
    }

    /// The folder in which each machine has one of its own.
    var root: HostPath {
        if let root = options["root"] { return HostFiles.absolute(HostPath(root)).appending("vboxmanage") }
        return (RunScope.current?.work ?? HostEnvironment.state).appending("vboxmanage")
    }

    private func refuse(_ spec: MachineSpec) throws {
        func refuse(_ code: BackendError.Code, _ message: String) -> BackendError {
            BackendError(code, "machine.create", "machine '\(spec.id)' \(message)", blame: .caller)
        }
        if case .kernel = spec.boot, !KernelDisc.isPossible { throw KernelDisc.refusal }
        let formats: [ImageFormat] = [.raw, .vdi, .vhd, .vmdk]
        for disk in spec.disks where !formats.contains(disk.image.format) {
            throw refuse(
                .unsupported,
                "has a \(disk.image.format) disk (\(disk.image.path)); VirtualBox takes raw, vdi, vhd, vmdk")
        }
        guard spec.memory >= .mib(4) else { throw refuse(.invalidArgument, "needs at least 4 MiB for VirtualBox") }
        guard spec.disks.count <= MachineLayout.places - (spec.boot == .disk ? 0 : 1) else {
            throw refuse(.invalidArgument, "has more than the \(MachineLayout.places) disks that IDE takes")
        }
    }

    /// Makes the machine, or takes away what was made of it.
    private func make(_ layout: MachineLayout) async throws -> VBoxManageMachine {
        let machine = RegisteredMachine(id: layout.spec.id, uuid: layout.uuid)
        if let scope = RunScope.current {
            try scope.journal.append(.domain(uri: journalURI, name: machine.id.rawValue))
            if !layout.folder.path.string.hasPrefix("\(scope.folder)/") {
                try scope.journal.append(.path(layout.folder.path))
            }
        }
        let isNewConsole = !HostFiles.exists(layout.console)
        do {
            try await layout.makeFiles()
            for command in layout.commands { try await tool.whenUnlocked("machine.create", command) }
            guard let handle = try await handle(machine, "machine.create") else {
                throw BackendError(.notFound, "machine.create", "somebody removed machine '\(machine.id)'")
            }
            return handle
        } catch {
            await shielded { [tool] in
                let files = layout.spec.disks.map(\.image.path)
                _ = try? await tool.whenUnlocked("machine.create", ["unregistervm", layout.uuid])
                try? await VBoxManageMachine.closeMedia(files, in: layout.folder.path, tool)
                if layout.folder.isOurs { try? layout.folder.remove() }
                if isNewConsole { try? HostFiles.removeTree(layout.console) }
            }
            throw error
        }
    }

    /// How a journal names this VirtualBox: what is behind the colon is the option `program`.
    private var journalURI: String { "vboxmanage:\(tool.program)" }
}
