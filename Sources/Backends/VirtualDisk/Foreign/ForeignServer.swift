import Abstractions
import BackendSupport
import CHost
import Host
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// A private `qemu-nbd` that serves one image to this process, and dies with it.
///
/// It gets the whole chain spelled out, opens no file that is not named there, takes QEMU's locks on each, and has limits: the
/// image may be hostile. It ends when its one client is gone.
final class ForeignServer: Sendable {
    /// The connection to it.
    let client: NBDClient
    let process: TetheredProcess
    private let path: HostPath

    /// Most address space of the server: tables of the largest images and its threads take less.
    private static let addressSpace = 8 << 30

    /// Starts the server and connects.
    ///
    /// - Parameters:
    ///   - path: the image, for messages.
    ///   - node: the description of the image and its files.
    ///   - snapshot: the internal snapshot to show instead of the present state; read-only then.
    /// - Throws: `unavailable` without qemu-nbd or libnbd, `inUse` when another QEMU holds a file, `corrupt` with QEMU's words.
    init(_ path: HostPath, _ node: QEMUNode, _ mode: AccessMode, snapshot: String? = nil) throws {
        let library = try NBDLibrary()
        let program = try ForeignServer.program("qemu-nbd", package: "qemu-utils")
        let tether = try ForeignServer.program("setpriv", package: "util-linux")
        let folder = try RunScope.makeProcessFolder("nbd", short: true)
        // Nobody needs the socket's name once the connection stands.
        defer { try? HostFiles.removeTree(folder) }
        let socket = folder.appending("socket")
        var arguments = [
            "--pdeathsig", "KILL", "prlimit", "--as=\(ForeignServer.addressSpace)", "--core=0", "--",
            program.string, "--socket", socket.string, "--allocation-depth", "--cache", "writeback",
        ]
        if mode == .readOnly { arguments.append("--read-only") }
        if let snapshot { arguments += ["--load-snapshot", "snapshot.name=\(snapshot.replacing(",", with: ",,"))"] }
        arguments.append("json:" + node.json(readOnly: mode == .readOnly))
        try RunScope.current?.journal.append(.process("qemu-nbd"))
        let process = try TetheredProcess("qemu-nbd", tether, arguments, operation: "disk")
        do {
            let connection = try ForeignServer.connect(socket, process, path)
            client = try NBDClient(library, socket: connection)
        } catch let failure as NBDClient.Failure {
            // It listens before it opens the image.
            if process.waitForEnd(.seconds(2)), process.exit != .exited(0), !process.errors.isEmpty {
                throw ForeignServer.refusal(process.errors, path)
            }
            process.kill()
            throw BackendError(
                .crashed, "disk.open", "qemu-nbd does not serve \(path): \(failure.text)", retry: .reopen,
                evidence: ["stderr": process.errors])
        } catch {
            process.kill()
            throw error
        }
        self.process = process
        self.path = path
    }

    deinit {
        if process.exit == nil { process.kill() }
    }

    /// Lets the server write out what it still has, and end.
    ///
    /// - Returns: whether it ended well.
    func end() -> Bool {
        client.shutdown()
        if !process.waitForEnd(.seconds(60)) { process.kill() }
        return process.exit == .exited(0)
    }

    /// The error behind a failed call.
    func explain(_ failure: NBDClient.Failure, _ operation: String) -> BackendError {
        let broken = [ENOTCONN, ECONNRESET, EPIPE, ESHUTDOWN, EINVAL, ECONNABORTED].contains(failure.number)
        if broken { _ = process.waitForEnd(.milliseconds(500)) }
        if let death = process.death {
            return BackendError(
                .crashed, operation, "the qemu-nbd that serves \(path) is gone: \(death.message)", retry: .reopen,
                native: .init(domain: "nbd", code: Int(failure.number), text: failure.text), causes: [death])
        }
        var error = hostError(operation, "cannot use image \(path)", errno: failure.number)
        error.native = .init(domain: "nbd", code: Int(failure.number), text: failure.text)
        return error
    }

    /// The path of a program that comes with QEMU or the system.
    static func program(_ name: String, package: String) throws -> HostPath {
        if let program = HostEnvironment.program(name) { return program }
        throw BackendError(
            .unavailable, "disk.open",
            "\(name) is not installed, and images of QEMU's formats need it; `apt-get install \(package)`", blame: .host
        )
    }

    /// Waits until the server listens, and connects.
    private static func connect(_ path: HostPath, _ process: TetheredProcess, _ image: HostPath) throws -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let name = Array(path.string.utf8)
        guard name.count < MemoryLayout.size(ofValue: address.sun_path) else {
            throw BackendError(.internal, "disk.open", "the path of the socket \(path) is too long", blame: .host)
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: name) }
        var connection: Int32 = -1
        let isDone = eventually(within: .seconds(30)) {
            if process.exit != nil { return true }
            connection = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
            let status = withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    Glibc.connect(connection, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
                }
            }
            if status == 0 { return true }
            Glibc.close(connection)
            connection = -1
            return false
        }
        if connection >= 0 { return connection }
        guard isDone else {
            throw BackendError(.timeout, "disk.open", "qemu-nbd does not answer for \(image)", retry: .backoff)
        }
        throw refusal(process.errors, image)
    }

    /// What QEMU's last words mean.
    static func refusal(_ words: String, _ image: HostPath) -> BackendError {
        let lines = words.split(separator: "\n").map(String.init)
        // The long description of the image is ours, and says nothing to its reader.
        let said = lines.map { line in
            line.split(separator: "}': ", maxSplits: 1).last.map(String.init) ?? line
        }.joined(separator: "; ")
        let code: BackendError.Code =
            if words.contains("lock") && words.contains("another process") || words.contains("Failed to get") {
                .inUse
            } else if words.contains("Can't find snapshot") {
                .notFound
            } else if words.contains("Permission denied") {
                .permissionDenied
            } else if words.contains("No space left") {
                .noSpace
            } else {
                .corrupt
            }
        return BackendError(
            code, "disk.open", "QEMU cannot open \(image): \(said)", blame: code == .inUse ? .caller : .disk,
            evidence: ["stderr": words])
    }
}
