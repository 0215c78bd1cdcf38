import Abstractions
import AnyvisorKit
import PluginKit

extension Catalogue {
    /// All that is found; says on standard error which manifests are broken.
    ///
    /// - Throws: `alreadyExists` when two plugins of a kind have one name.
    static func all() throws -> Catalogue { try load(broken: tell) }

    /// The manifests that are found; says on standard error which ones are broken.
    static func soundManifests() -> [PluginManifest] { manifests(broken: tell) }

    /// The manifests of a name; says on standard error which ones are broken.
    ///
    /// - Throws: `notFound` with the nearest known name.
    static func manifests(named name: String) throws -> [PluginManifest] {
        let all = soundManifests()
        let found = all.filter { $0.name == name }
        if found.isEmpty {
            let hint = nearest(to: name, among: all.map(\.name)).map { ", did you mean '\($0)'?" } ?? ""
            throw BackendError(.notFound, "plugin", "no plugin '\(name)'\(hint)", blame: .caller)
        }
        return found
    }

    private static func tell(_ broken: BackendError) { Terminal.talk("anyvisor: \(broken)") }
}
