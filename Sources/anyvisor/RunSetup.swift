import Abstractions
import Host
import Runner
import VirtualDisk

/// What the Runner is told about this program: its images, how a disposable disk is made, and what the user configured.
enum RunSetup {
    /// The built-in defaults with the user's files laid over them.
    ///
    /// - Throws: `Problems` of a file.
    static func configuration(_ catalogue: Catalogue) throws -> Configuration {
        try Configuration(hypervisor: catalogue.preferences.hypervisors, disk: catalogue.preferences.disks).reading()
    }

    /// Images of the catalogue, built when they are needed.
    static func images(_ store: ImageStore) -> ImageSource {
        ImageSource(names: { store.names }) { name, note in
            try GuestImage(folder: try await store.built(name, talk: note).folder)
        }
    }

    /// A copy-on-write layer where the hypervisor takes one, else a sparse copy.
    static let overlay: OverlayMaker = { base, folder, formats in
        // QEMU reads a damaged VDI without a word and returns wrong data: our own strict checks come first.
        if base.format == .vdi {
            try await onOwnThread { Result { _ = try VirtualDisk.open(base, .readOnly) } }.get()
        }
        if formats.contains(.qcow2) {
            let image = DiskImage(path: folder.appending("system.qcow2"), format: .qcow2)
            try await Overlay.make(over: base, at: image.path)
            return image
        }
        guard formats.contains(base.format) else {
            throw BackendError(
                .unsupported, "overlay",
                "the hypervisor takes \(formats.map(\.rawValue).joined(separator: ", ")), not \(base.format)"
            )
        }
        let image = DiskImage(path: folder.appending("system.\(base.format)"), format: base.format)
        _ = try await Tool.check(
            "cp", ["--reflink=auto", "--sparse=always", "--", base.path.string, image.path.string],
            deadline: .seconds(600))
        return image
    }

    /// Reads a recipe and checks it against this program's backends and images.
    ///
    /// - Throws: `Problems` with everything that is wrong.
    static func recipe(
        _ path: String, _ registry: BackendRegistry, _ configuration: Configuration, _ store: ImageStore
    ) throws -> Recipe {
        let recipe = try Recipe(file: HostPath(path))
        let problems = RecipeCheck(registry: registry, images: store.names).diagnostics(recipe, configuration)
        guard problems.isEmpty else { throw Problems(problems) }
        return recipe
    }
}
