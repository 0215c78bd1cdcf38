import Abstractions
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// Lines on their way to a process that may read them late or never: nobody who sends one ever waits.
final class OutgoingLines: Sendable {
    private struct State {
        var lines: [[UInt8]] = []
        var ends = false
        var stops = false
    }
    private let descriptor: Int32
    private let state = Mutex(State())
    private let wake = DoneSignal()

    /// - Parameter descriptor: becomes non-blocking; only `run` uses it.
    init(_ descriptor: Int32) {
        self.descriptor = descriptor
        let flags = fcntl(descriptor, F_GETFL)
        _ = fcntl(descriptor, F_SETFL, flags | O_NONBLOCK)
    }

    /// Sends a line; dropped when the process is gone, whose death answers for it.
    func send(_ line: [UInt8]) {
        state.withLock { if !$0.ends { $0.lines.append(line) } }
        wake.signal()
    }

    /// The process sees the end of its input behind what was sent.
    func end() {
        state.withLock { $0.ends = true }
        wake.signal()
    }

    /// Makes `run` return, whatever is still to be sent.
    func stop() {
        state.withLock { state in
            state.ends = true
            state.stops = true
        }
        wake.signal()
    }

    /// Writes until the end; belongs on a thread of its own.
    func run() {
        // The death of the process shall be an error here, not a signal.
        var pipe = sigset_t()
        sigemptyset(&pipe)
        sigaddset(&pipe, SIGPIPE)
        pthread_sigmask(SIG_BLOCK, &pipe, nil)
        while true {
            let (lines, ends, stops) = state.withLock { state in
                defer { state.lines = [] }
                return (state.lines, state.ends, state.stops)
            }
            if stops { return }
            if lines.isEmpty && ends { return closeEnd() }
            if lines.isEmpty { wake.wait() }
            for line in lines {
                guard write(line) else { return }
            }
        }
    }

    private func write(_ line: [UInt8]) -> Bool {
        var done = 0
        while done < line.count {
            let count = line.withUnsafeBytes {
                Glibc.write(descriptor, $0.baseAddress.map { $0 + done }, line.count - done)
            }
            if count > 0 {
                done += count
            } else if errno == EAGAIN {
                var ready = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                _ = poll(&ready, 1, 200)
                if state.withLock({ $0.stops }) { return false }
            } else if errno != EINTR {
                return false
            }
        }
        return true
    }

    /// The descriptor's number stays taken until its owner closes it, so that no other file gets it meanwhile.
    private func closeEnd() {
        let null = open("/dev/null", O_WRONLY | O_CLOEXEC)
        dup2(null, descriptor)
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        Glibc.close(null)
    }
}
