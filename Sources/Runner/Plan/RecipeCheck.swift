import Abstractions
import Host

/// Checks a recipe against this host: names of backends and images, files that must exist. Makes and starts nothing.
public struct RecipeCheck: Sendable {
    /// The backends that are known.
    public var registry: BackendRegistry
    /// The names of images.
    public var images: [String]

    /// Checks against these backends and images.
    public init(registry: BackendRegistry, images: [String]) {
        self.registry = registry
        self.images = images
    }

    /// Everything wrong with the recipe under this configuration; empty when it can be run.
    public func diagnostics(_ recipe: Recipe, _ configuration: Configuration) -> [Diagnostic] {
        var found: [Diagnostic] = []
        for (index, input) in recipe.inputs.enumerated() {
            guard case .file(let path) = input, !HostFiles.exists(path) else { continue }
            found.append(Diagnostic(recipe.place("inputs[\(index)]"), "input \(path) does not exist"))
        }
        found += image(recipe)
        if let iso = recipe.machine.cdrom, !HostFiles.exists(iso) {
            found.append(Diagnostic(recipe.place("image"), "cdrom \(iso) does not exist"))
        }
        found += backends(recipe.hypervisor, configuration.hypervisor, .hypervisor, recipe, configuration)
        found += backends(recipe.disk, configuration.disk, .disk, recipe, configuration)
        return found
    }

    private func image(_ recipe: Recipe) -> [Diagnostic] {
        switch recipe.image {
        case .name(let name):
            guard !images.contains(name) else { return [] }
            let hint =
                nearest(to: name, among: images).map { "did you mean '\($0)'?" }
                ?? "known: \(images.joined(separator: ", "))"
            return [Diagnostic(recipe.place("image"), "unknown image '\(name)', \(hint)")]
        case .disk(let image):
            guard !HostFiles.exists(image.path) else { return [] }
            return [Diagnostic(recipe.place("image"), "image \(image.path) does not exist")]
        }
    }

    private func backends(
        _ own: BackendPreference, _ shared: BackendPreference, _ kind: BackendKind, _ recipe: Recipe,
        _ configuration: Configuration
    ) -> [Diagnostic] {
        let key = kind == .hypervisor ? "hypervisor" : "disk"
        let merged = own.over(shared)
        var found: [Diagnostic] = []
        for (index, name) in merged.prefer.enumerated() {
            do {
                _ = try registry.expand([name], kind)
            } catch {
                let spot = "\(key).prefer[\(index)]"
                let place = own.prefer.isEmpty ? configuration.places[spot] : recipe.places[spot]
                found.append(
                    Diagnostic(
                        place ?? Diagnostic.Place(file: "command line"),
                        BackendError.wrapping(error, "recipe").message))
            }
        }
        for (name, options) in merged.options.sorted(by: { $0.key < $1.key }) {
            guard let descriptor = registry.find(name, kind) else { continue }
            do {
                _ = try OptionValues(options, declared: descriptor.options)
            } catch {
                found.append(
                    Diagnostic(
                        recipe.place("\(key).prefer[0]"),
                        "\(key) '\(name)': \(BackendError.wrapping(error, "recipe").message)"))
            }
        }
        return found
    }
}
