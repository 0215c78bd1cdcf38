import Abstractions
import Host

/// A job without tasks, for machines whose code is translated before it runs: what they have run once, a job runs at full speed.
///
/// A task would take longer to rehearse than it gains.
struct Rehearsal: Sendable {
    /// The IO disk with the job on it, raw.
    let disk: HostPath
    /// What the agent puts on its console lines.
    let token: String

    /// Makes it in a folder, which must not exist, and does not when this throws.
    ///
    /// - Throws: what the host says.
    static func make(in folder: HostPath) async throws -> Rehearsal {
        do {
            return try await laidOut(in: folder)
        } catch {
            try? HostFiles.removeTree(folder)
            throw error
        }
    }

    private static func laidOut(in folder: HostPath) async throws -> Rehearsal {
        let content = folder.appending("io")
        let job = try await JobFolder.write(
            named: "rehearsal", [], attempt: "rehearsal", inputs: [],
            to: content)
        let disk = try await IODisk.make(
            at: folder.appending("io.raw"), job: job.size, results: 1 << 20, content: content)
        try HostFiles.removeTree(content)
        return Rehearsal(disk: disk.image.path, token: job.token)
    }
}
