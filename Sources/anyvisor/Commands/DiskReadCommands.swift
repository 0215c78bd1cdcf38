import Abstractions
import AnyvisorKit
import ArgumentParser

/// `anyvisor disk ls IMAGE [GUESTPATH]`.
struct DiskList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ls", abstract: "Lists a folder inside an image.",
        discussion: "Example: anyvisor disk ls machine.vdi /etc")
    @Argument(help: "The disk image.") var image: String
    @Argument(help: "A path inside the image.") var path = "/"
    @OptionGroup var options: DiskOptions

    func run() async throws {
        let path = GuestPath(path)
        let json = options.json
        try await options.withDisk(image) { disk, log in
            try await disk.withFilesystem(.readOnly, log) { filesystem, _ in
                let entries = try await entries(of: path, filesystem)
                if json { return try Terminal.json(entries) }
                Terminal.table(entries.map(row))
            }
        }
    }

    private func entries(of path: GuestPath, _ filesystem: any GuestFilesystem) async throws -> [DirectoryEntry] {
        let stat = try await filesystem.stat(path)
        guard stat.kind == .directory else { return [DirectoryEntry(name: path.name, stat: stat)] }
        var entries: [DirectoryEntry] = []
        var after: String?
        repeat {
            let page = try await filesystem.list(path, after: after)
            entries += page.entries
            after = page.next
        } while after != nil
        return entries
    }

    private func row(_ entry: DirectoryEntry) -> [String] {
        let stat = entry.stat
        let target = stat.target.map { " -> \($0)" } ?? ""
        return [
            letter(stat.kind) + permissions(stat.mode), "\(stat.uid)", "\(stat.gid)", "\(stat.size.bytes)",
            entry.name + target,
        ]
    }

    private func letter(_ kind: FileKind) -> String {
        switch kind {
        case .file: "-"
        case .directory: "d"
        case .symlink: "l"
        case .blockDevice: "b"
        case .characterDevice: "c"
        case .fifo: "p"
        case .socket: "s"
        }
    }

    private func permissions(_ mode: UInt32) -> String {
        var letters = Array("rwxrwxrwx")
        for bit in 0..<9 where mode & (1 << UInt32(8 - bit)) == 0 { letters[bit] = "-" }
        if mode & 0o4000 != 0 { letters[2] = letters[2] == "x" ? "s" : "S" }
        if mode & 0o2000 != 0 { letters[5] = letters[5] == "x" ? "s" : "S" }
        if mode & 0o1000 != 0 { letters[8] = letters[8] == "x" ? "t" : "T" }
        return String(letters)
    }
}

/// `anyvisor disk cat IMAGE GUESTPATH`.
struct DiskCat: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cat", abstract: "Writes a file inside an image to standard output.",
        discussion: "Example: anyvisor disk cat machine.vdi /etc/hostname")
    @Argument(help: "The disk image.") var image: String
    @Argument(help: "A file inside the image.") var path: String
    @OptionGroup var options: DiskOptions

    func run() async throws {
        let path = GuestPath(path)
        try await options.withDisk(image) { disk, log in
            try await disk.withFilesystem(.readOnly, log) { filesystem, _ in
                var offset: Int64 = 0
                while true {
                    let bytes = try await filesystem.read(path, offset: offset, count: 512 << 10)
                    try Terminal.data(bytes)
                    offset += Int64(bytes.count)
                    if bytes.count < 512 << 10 { return }
                }
            }
        }
    }
}

/// `anyvisor disk get IMAGE GUESTPATH HOSTPATH`.
struct DiskGet: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "get", abstract: "Copies a file or tree out of an image.",
        discussion: "Example: anyvisor disk get machine.vdi /var/log ./log")
    @Argument(help: "The disk image.") var image: String
    @Argument(help: "A file or folder inside the image.") var path: String
    @Argument(help: "Where it goes on this host; must not exist yet, or be a folder that then holds it.") var target:
        String
    @Flag(help: "Take regular files and folders only, within a quota: for images whose content nobody trusts.")
    var untrusted = false
    @OptionGroup var options: DiskOptions

    func run() async throws {
        let (path, target) = (path, target)
        let policy: CopyPolicy = untrusted ? .untrusted(CopyLimits()) : .faithful
        let meter = TransferMeter(json: options.json)
        let report = try await options.withDisk(image) { disk, log in
            try await disk.get(path, to: target, policy, log: log, progress: meter.sink)
        }
        try meter.finish(report)
    }
}

/// `anyvisor disk check IMAGE`.
struct DiskCheck: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Checks an image's header and says which backends can open it.",
        discussion: "Example: anyvisor disk check machine.vdi")
    @Argument(help: "The disk image.") var image: String
    @OptionGroup var options: DiskOptions

    private struct Answer: Encodable {
        var backend: String
        var suitability: Suitability
    }

    func run() async throws {
        let image = try options.image(image)
        let names = options.backends
        let answers = try await CommandScope.run { _ in
            let catalogue = try Catalogue.all()
            var answers: [Answer] = []
            for name in try catalogue.diskNames(names) {
                answers.append(Answer(backend: name, suitability: await suitability(of: image, name, catalogue)))
            }
            return answers
        }
        if options.json {
            try Terminal.json(answers)
        } else {
            Terminal.table(
                [["backend", "score", "reason"]]
                    + answers.map { [$0.backend, "\($0.suitability.score)", $0.suitability.reason] })
        }
        if !answers.contains(where: { $0.suitability.score > 0 }) { throw ExitCode(ExitStatus.backend) }
    }

    private func suitability(of image: DiskImage, _ name: String, _ catalogue: Catalogue) async -> Suitability {
        do {
            let access = try await catalogue.disk(name)
            let answer = try await access.probe(image)
            await access.close()
            return answer
        } catch {
            return Suitability(score: 0, reason: BackendError.wrapping(error, "disk.probe").message)
        }
    }
}
