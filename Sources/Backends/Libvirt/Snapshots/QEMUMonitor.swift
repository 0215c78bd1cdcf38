import Abstractions
import BackendSupport
import Clibvirt
import FoundationEssentials
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// QEMU's own commands, passed on by libvirt to the QEMU of a running domain. Runs on the machine's thread.
///
/// Source: QEMU, docs/interop/qmp-spec.rst and qapi/{job,block-core,migration}.json.
struct QEMUMonitor {
    let domain: OpaquePointer
    let operation: String

    private struct Command<Arguments: Encodable>: Encodable {
        var execute: String
        var arguments: Arguments
    }
    private struct Reply<Answer: Decodable>: Decodable {
        struct Failure: Decodable { var desc: String }
        var `return`: Answer?
        var error: Failure?
    }
    /// A command without arguments, or an answer that says nothing.
    struct Nothing: Codable {}

    /// Runs one command.
    ///
    /// - Throws: what QEMU says, what libvirt says when it cannot ask.
    @discardableResult
    func run<Answer: Decodable>(
        _ command: String, _ arguments: some Encodable = Nothing(), answer: Answer.Type = Nothing.self
    ) throws -> Answer {
        let encoded = try JSONEncoder().encode(Command(execute: command, arguments: arguments))
        var text: UnsafeMutablePointer<CChar>?
        guard virDomainQemuMonitorCommand(domain, String(decoding: encoded, as: UTF8.self), &text, 0) == 0, let text
        else {
            throw libvirtError(operation, "QEMU cannot be asked (\(command))")
        }
        defer { free(text) }
        let bytes = Data(UnsafeRawBufferPointer(start: text, count: strlen(text)))
        let reply = try? JSONDecoder().decode(Reply<Answer>.self, from: bytes)
        if let failure = reply?.error { throw self.failure(command, failure.desc) }
        guard let answer = reply?.return else {
            throw BackendError(.protocolViolation, operation, "QEMU's answer to \(command) cannot be read")
        }
        return answer
    }

    private struct Job: Decodable {
        var id: String
        var status: String
        var error: String?
    }

    /// Runs a command that is a job, and waits for the job's end.
    ///
    /// - Throws: what QEMU says of the command or of the job.
    func runJob(_ command: String, _ arguments: some JobArguments) throws {
        try run(command, arguments)
        defer { _ = try? run("job-dismiss", ["id": arguments.jobID]) }
        var pause: UInt32 = 1
        while true {
            let jobs = try run("query-jobs", answer: [Job].self)
            guard let job = jobs.first(where: { $0.id == arguments.jobID }) else {
                throw BackendError(.internal, operation, "QEMU has forgotten \(command) before its end")
            }
            if job.status == "concluded" {
                if let error = job.error { throw failure(command, error) }
                return
            }
            usleep(pause * 1000)
            pause = min(pause * 2, 20)
        }
    }

    private func failure(_ command: String, _ text: String) -> BackendError {
        let known = LibvirtFailure(code: 0, text: text)
        let isMissing = text.contains("does not exist") || text.contains("not find snapshot")
        return BackendError(
            isMissing ? .notFound : known.code, operation,
            "QEMU (\(command)): \(text)" + (known.remedy.map { "; \($0)" } ?? ""), blame: known.blame ?? .backend,
            retry: known.retry, native: .init(domain: "qmp", code: 0, text: text))
    }

    private struct Drive: Decodable {
        struct Image: Decodable { var filename: String }
        struct Inserted: Decodable {
            var node: String?
            var image: Image
            enum CodingKeys: String, CodingKey {
                case node = "node-name"
                case image
            }
        }
        var inserted: Inserted?
    }

    /// QEMU's names for the disks with these files, in their order.
    ///
    /// - Throws: `invalidState` when the running QEMU does not have one of them.
    func nodes(of files: [HostPath]) throws -> [String] {
        let drives = try run("query-block", answer: [Drive].self)
        return try files.map { file in
            let drive = drives.first { $0.inserted?.image.filename == file.string }
            guard let node = drive?.inserted?.node else {
                throw BackendError(.invalidState, operation, "the running QEMU does not have the disk \(file)")
            }
            return node
        }
    }
}

/// The arguments of a command that QEMU runs as a job.
protocol JobArguments: Encodable {
    /// The job's name, which no other job of this QEMU may have.
    var jobID: String { get }
}
