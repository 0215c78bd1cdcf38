import Abstractions
import BackendSupport
import CHost
import Host
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// Brings a host tree into the appliance: one thread writes the archive, the calling one hands the pipe to libguestfs.
struct TarTransfer {
    let reader: HostTreeReader
    let topName: String
    let options: CopyInOptions
    let progress: ProgressSink
    let cancellation: CancellationFlag
    let activity: ActivityMeter

    /// Runs the transfer; `receive` gets a path where the archive can be read, and must read it to the end.
    ///
    /// - Throws: the writer's error first, since it makes the reader fail too; else what `receive` throws.
    func run(_ receive: (String) throws -> Void, interrupt: @escaping @Sendable () -> Void) throws -> CopyReport {
        var ends: [Int32] = [-1, -1]
        guard pipe2(&ends, O_CLOEXEC) == 0 else { throw hostError("copyIn", "cannot make a pipe") }
        let (reading, writing) = (ends[0], ends[1])
        let size = reader.top.stat.kind == .file ? reader.top.stat.size.bytes : nil
        let feeder = TarFeeder(
            pipe: writing, topName: topName, options: options, progress: progress, totalBytes: size, cancellation,
            activity)
        let box = Unchecked(value: (feeder, reader))
        let answer = Answer()
        startThread {
            var blocked = sigset_t()
            sigemptyset(&blocked)
            sigaddset(&blocked, SIGPIPE)
            pthread_sigmask(SIG_BLOCK, &blocked, nil)
            var (feeder, reader) = box.value
            let result = Result { try feeder.feed(reader) }
            // The reader must not take the end of a broken archive for a whole one.
            if case .failure(let error) = result, !(error is PipeClosed) { interrupt() }
            close(writing)
            answer.give(result)
        }
        let received = Result { try receive("/dev/fd/\(reading)") }
        close(reading)
        let fed = answer.take()
        if case .failure(let error) = fed, !(error is PipeClosed) { throw error }
        try received.get()
        return try fed.get()
    }
}

/// Hands values to the one thread that uses them from then on.
private struct Unchecked<Value>: @unchecked Sendable {
    let value: Value
}

/// The feeder's result, for the thread that waits for it.
private final class Answer: @unchecked Sendable {
    // The semaphore orders the two accesses.
    private var result: Result<CopyReport, any Error>?
    private let semaphore: UnsafeMutablePointer<sem_t>

    init() {
        semaphore = .allocate(capacity: 1)
        sem_init(semaphore, 0, 0)
    }

    func give(_ result: Result<CopyReport, any Error>) {
        self.result = result
        sem_post(semaphore)
    }

    func take() -> Result<CopyReport, any Error> {
        while sem_wait(semaphore) != 0 && errno == EINTR {}
        return result ?? .failure(PipeClosed())
    }

    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }
}
