import Abstractions
import AnyvisorKit
import ArgumentParser
import ConformanceKit
import Host

/// Which cases of the suite run.
struct ConformanceChoice: ParsableArguments {
    @Option(help: "Only cases whose sentence or group has this text.") var filter: String?
    @Option(
        help: ArgumentHelp(
            "Only these kinds of images, separated by commas: \(DiskKind.all.map(\.name).joined(separator: ", "))."))
    var formats: String?
    @Flag(help: "Every disk case over every kind of image, not over the first alone.") var full = false

    /// Whether nothing was left out.
    var isWhole: Bool { filter == nil && formats == nil }

    /// - Throws: `invalidArgument` for a kind of image that there is not.
    func settings(_ scope: RunScope) throws -> ConformanceSettings {
        let names = formats.map { $0.split(separator: ",").map(String.init) }
        let known = DiskKind.all.map(\.name)
        if let odd = names?.first(where: { !known.contains($0) }) {
            let hint = nearest(to: odd, among: known).map { " (did you mean '\($0)'?)" } ?? ""
            throw BackendError(
                .invalidArgument, "conformance",
                "there is no kind of image '\(odd)'\(hint); there are \(known.joined(separator: ", "))", blame: .caller)
        }
        return ConformanceSettings(
            folder: scope.shortDirectory, guestFolder: ResourceFolders.find("guest"), filter: filter, formats: names,
            isFull: full)
    }
}
