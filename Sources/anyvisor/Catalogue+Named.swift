import Abstractions
import AnyvisorKit
import PluginKit

extension Catalogue {
    /// The manifests of a name; says on standard error which ones are broken.
    ///
    /// - Throws: `notFound` with the nearest known name.
    static func manifests(named name: String) throws -> [PluginManifest] {
        let all = manifests { Terminal.talk("anyvisor: \($0)") }
        let found = all.filter { $0.name == name }
        if found.isEmpty {
            let hint = nearest(to: name, among: all.map(\.name)).map { ", did you mean '\($0)'?" } ?? ""
            throw BackendError(.notFound, "plugin", "no plugin '\(name)'\(hint)", blame: .caller)
        }
        return found
    }
}
