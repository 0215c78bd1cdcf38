import Abstractions

#if canImport(Glibc)
    import Glibc
#endif

/// Stops this process at a journal record, so that a test can kill it at exactly that moment.
///
/// `ANYVISOR_HOLD=KIND[:N]` holds at the Nth (from 1) record of that kind, or `any:N` at the Nth of all, counted over all
/// processes of the run. Without the variable nothing happens.
enum HoldPoint {
    static func reached(_ kind: String, _ folder: HostPath) {
        guard let wish = HostEnvironment.variable("ANYVISOR_HOLD") else { return }
        let parts = wish.split(separator: ":")
        guard let wanted = parts.first, wanted == "any" || wanted == kind else { return }
        let number = parts.count > 1 ? Int(parts[1]) ?? 1 : 1
        let records = (try? Journal(folder.appending("journal.jsonl")).records()) ?? []
        guard records.count(where: { wanted == "any" || $0.kind == kind }) == number else { return }
        try? HostFiles.write(Array("\(getpid()) \(kind)\n".utf8), to: folder.appending("held"))
        raise(SIGSTOP)
    }
}
