import Abstractions

/// Tells from an image whether a commit that was cut off has happened.
///
/// A commit that dies leaves the image old or new, never between, but does not say which. The witness knows, for every path that
/// the transaction named, what was there before it and what is there after it. Where the two differ, what the recovered image
/// holds is a vote. All votes must agree; without any vote the question stays open.
struct CommitWitness: Sendable {
    /// A path on a volume.
    struct Place: Sendable, Hashable {
        var volume: VolumeID
        var path: GuestPath
    }

    enum Verdict: Sendable, Hashable {
        case happened, didNotHappen, unknown
    }

    /// What was there before the transaction; nil inside: nothing.
    private(set) var before: [Place: FileStat?] = [:]
    private var after: [Place: FileStat?] = [:]

    var places: [Place] { Array(before.keys) }

    func knows(_ place: Place) -> Bool { before[place] != nil }

    mutating func noteBefore(_ place: Place, _ stat: FileStat?) {
        if before[place] == nil { before.updateValue(stat, forKey: place) }
    }

    mutating func noteAfter(_ place: Place, _ stat: FileStat?) { after.updateValue(stat, forKey: place) }

    func verdict(_ found: [Place: FileStat?]) -> Verdict {
        var happened = false
        var didNotHappen = false
        for (place, old) in before {
            guard let new = after[place], let now = found[place] else { continue }
            for field in CommitWitness.fields {
                let (was, wanted, seen) = (field(old), field(new), field(now))
                guard was != wanted else { continue }
                happened = happened || seen == wanted
                didNotHappen = didNotHappen || seen == was
            }
        }
        if happened == didNotHappen { return .unknown }
        return happened ? .happened : .didNotHappen
    }

    /// What all backends see alike. A folder's size is the file system's own affair, and of times only seconds are sure.
    private static let fields: [@Sendable (FileStat?) -> String] = [
        { $0?.kind.rawValue ?? "nothing" },
        { $0.map { $0.kind == .file ? "\($0.size.bytes)" : "" } ?? "nothing" },
        { $0.map { $0.target ?? "" } ?? "nothing" },
        { $0.map { "\($0.mode)" } ?? "nothing" },
        { $0.map { "\($0.uid):\($0.gid)" } ?? "nothing" },
        { $0.map { "\($0.modifiedNanoseconds / 1_000_000_000)" } ?? "nothing" },
    ]
}
