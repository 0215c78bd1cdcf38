import Abstractions
import BackendSupport
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// The plugin's side of a running `StagedServer`.
///
/// All calls but `kill` block; one thread at a time.
final class FuseServerConnection {
    /// The folder where its files are.
    let folder: HostPath
    /// Its files.
    let files: [ServedFile]
    /// The process; may be killed from any thread.
    let process: TetheredProcess
    private let socket: LineSocket

    /// Starts a server and waits until its files are there.
    ///
    /// - Throws: what VirtualDisk says about the image, `unavailable` without FUSE, `crashed`.
    init(
        program: HostPath, _ image: DiskImage, _ mode: AccessMode, folder: HostPath,
        started: (TetheredProcess) -> Void
    ) throws {
        var ends: [Int32] = [-1, -1]
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
            throw hostError("vdfuse.open", "cannot make a socket pair")
        }
        self.folder = folder
        socket = LineSocket(ends[0])
        defer { close(ends[1]) }
        let arguments = [
            StagedServer.flag, "\(getpid())", folder.string, mode.rawValue,
            String(decoding: ServerMessage.line(image).dropLast(), as: UTF8.self),
        ]
        process = try TetheredProcess("the FUSE server", program, arguments, input: ends[1], operation: "vdfuse")
        started(process)
        close(ends[1])
        ends[1] = -1
        guard let line = socket.line() else { throw FuseServerConnection.death(of: process) }
        let answer = try ServerMessage.parse(line, as: ServerMessage.Answer.self)
        if let error = answer.error { throw error }
        files = answer.files ?? []
    }

    /// Makes everything durable.
    ///
    /// - Throws: what the commit threw, `crashed`; the image is then as before.
    func commit() throws { try ask(.commit) }

    /// Makes sure that what was read and written until now is true: the server still answers, and nothing has failed in it.
    ///
    /// - Throws: the first read or write that failed, `crashed`, `protocolViolation`.
    func checkHealth() throws { try ask(.status) }

    /// Nothing that a server shows can be believed once it speaks without being asked: it is killed.
    private func checkSilence() throws {
        if let death = process.death { throw death }
        guard socket.hasInput else { return }
        guard let line = socket.line() else { throw FuseServerConnection.death(of: process) }
        process.kill()
        throw BackendError(
            .protocolViolation, "vdfuse.server", "the FUSE server spoke without being asked", retry: .reopen,
            evidence: ["line": String(decoding: line.prefix(200), as: UTF8.self)])
    }

    private func ask(_ command: ServerMessage.Command) throws {
        try checkSilence()
        guard socket.send(ServerMessage.line(ServerMessage.Request(command: command))), let line = socket.line() else {
            throw FuseServerConnection.death(of: process)
        }
        let answer: ServerMessage.Answer
        do {
            answer = try ServerMessage.parse(line, as: ServerMessage.Answer.self)
        } catch {
            process.kill()
            throw error
        }
        if let error = answer.error { throw error }
    }

    /// Ends the server, without commit, and waits: until it has ended, the image and the qemu-nbd below it are not free.
    func end() {
        shutdown(socket.descriptor, Int32(SHUT_RDWR))
        // A server that was stopped is killed much earlier; one that only got no time of a busy machine's must end by itself.
        if !process.waitForEnd(.seconds(30)) {
            process.kill()
            _ = process.waitForEnd(.seconds(3))
        }
    }

    private static func death(of process: TetheredProcess) -> BackendError {
        // The end of its socket comes a moment before its exit status.
        if !process.waitForEnd(.seconds(2)) { process.kill() }
        return process.death
            ?? BackendError(.crashed, "vdfuse", "the FUSE server closed its connection", retry: .reopen)
    }
}
