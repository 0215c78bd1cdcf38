import Abstractions

#if canImport(Glibc)
    import Glibc
#endif

/// Something that a thread waits for, with or without a limit; a signal before the wait is not lost.
final class DoneSignal: @unchecked Sendable {
    // A POSIX semaphore is made to be shared between threads.
    private let semaphore: UnsafeMutablePointer<sem_t>

    init() {
        semaphore = .allocate(capacity: 1)
        sem_init(semaphore, 0, 0)
    }

    func signal() { sem_post(semaphore) }

    /// Blocks until `signal`.
    func wait() { while sem_wait(semaphore) != 0 && errno == EINTR {} }

    /// Blocks until `signal` or the limit; true when it was signalled.
    @discardableResult
    func wait(_ limit: Duration) -> Bool {
        var until = timespec()
        clock_gettime(CLOCK_REALTIME, &until)
        let nanoseconds = Int64(until.tv_nsec) + limit.milliseconds % 1000 * 1_000_000
        until.tv_sec += Int(limit.milliseconds / 1000 + nanoseconds / 1_000_000_000)
        until.tv_nsec = Int(nanoseconds % 1_000_000_000)
        while sem_timedwait(semaphore, &until) != 0 {
            if errno != EINTR { return false }
        }
        return true
    }

    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }
}
