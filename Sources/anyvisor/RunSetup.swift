import Abstractions
import AnyvisorKit
import ArgumentParser
import Host
import Runner
import VirtualDisk

/// What the Runner is told about this program: its images, how a disposable disk is made, and what the user configured.
enum RunSetup {
    /// Recipes, each with all runs of its matrix, and the runner for them; what is wrong with them is told.
    ///
    /// - Throws: exit status 2 for a problem of a recipe or of the configuration.
    static func prepared(_ paths: [String], _ catalogue: Catalogue) throws -> ([Recipe], Runner) {
        let store = try ImageStore.load()
        do {
            let configuration = try configuration(catalogue)
            let found = try recipes(paths, catalogue.registry, configuration, store)
            let runner = Runner(
                registry: catalogue.registry, images: images(store), overlay: overlay, configuration: configuration)
            return (found, runner)
        } catch let problems as Problems {
            Terminal.talk(problems.description)
            throw ArgumentParser.ExitCode(ExitStatus.usage)
        }
    }

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
        let plain = try await onOwnThread { Result { try plainDisk(base, folder) } }.get()
        if formats.contains(.qcow2) {
            let image = DiskImage(path: folder.appending("system.qcow2"), format: .qcow2)
            try await Overlay.make(over: plain, at: image.path)
            return image
        }
        if plain != base, !formats.contains(plain.format), formats.contains(.vdi) {
            let image = DiskImage(path: folder.appending("system.vdi"), format: .vdi)
            try await onOwnThread { Result { try VirtualDisk.importRaw(plain.path, as: image) } }.get()
            return image
        }
        guard formats.contains(plain.format) else {
            throw BackendError(
                .unsupported, "overlay",
                "the hypervisor takes \(formats.map(\.rawValue).joined(separator: ", ")), not \(base.format)"
            )
        }
        let image = DiskImage(path: folder.appending("system.\(plain.format)"), format: plain.format)
        _ = try await Tool.check(
            "cp", ["--reflink=auto", "--sparse=always", "--", plain.path.string, image.path.string],
            deadline: .seconds(600))
        return image
    }

    /// The base as QEMU reads it right: a VHD, which it reads short, and a snapshot layer, which it refuses or takes for a whole
    /// disk, become raw.
    ///
    /// - Throws: what the strict checks of our own find: QEMU reads a damaged VDI without a word and returns wrong data.
    private static func plainDisk(_ base: DiskImage, _ folder: HostPath) throws -> DiskImage {
        guard base.format == .vdi || base.format == .vhd else { return base }
        let disk = try VirtualDisk.open(base, .readOnly)
        guard disk.isLayer || base.format == .vhd else { return base }
        let raw = DiskImage(path: folder.appending("base.raw"), format: .raw)
        try disk.export(to: raw.path)
        return raw
    }

    /// Reads recipes, each with all runs of its matrix, and checks them against this program's backends and images.
    ///
    /// - Throws: `Problems` with everything that is wrong.
    static func recipes(
        _ paths: [String], _ registry: BackendRegistry, _ configuration: Configuration, _ store: ImageStore
    ) throws -> [Recipe] {
        let check = RecipeCheck(registry: registry, images: store.names)
        var recipes: [Recipe] = []
        var problems: [Diagnostic] = []
        for path in paths {
            do {
                let found = try Recipe.all(in: HostPath(path))
                problems += found.flatMap { check.diagnostics($0, configuration) }
                recipes += found
            } catch let known as Problems {
                problems += known.diagnostics
            }
        }
        guard problems.isEmpty else { throw Problems(problems) }
        return recipes
    }
}
