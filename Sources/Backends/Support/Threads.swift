#if canImport(Glibc)
    import Glibc
#endif

/// Starts a detached thread.
public func startThread(_ body: @escaping @Sendable () -> Void) {
    let entry: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { pointer in
        guard let pointer else { return nil }
        Unmanaged<ThreadBody>.fromOpaque(pointer).takeRetainedValue().run()
        return nil
    }
    let box = Unmanaged.passRetained(ThreadBody(body))
    var thread = pthread_t()
    let status = pthread_create(&thread, nil, entry, box.toOpaque())
    precondition(status == 0, "the host has no thread left")
    pthread_detach(thread)
}

private final class ThreadBody: Sendable {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}

/// A counting wake-up between threads: a signal before the wait is not lost.
public final class ThreadCondition: @unchecked Sendable {
    // The semaphore is shared memory by design; sem_t has no owner.
    private let semaphore: UnsafeMutablePointer<sem_t>

    /// Starts without a signal.
    public init() {
        semaphore = .allocate(capacity: 1)
        sem_init(semaphore, 0, 0)
    }

    /// Lets one `wait` pass, now or later.
    public func signal() { sem_post(semaphore) }

    /// Blocks the thread until there is a signal.
    public func wait() { while sem_wait(semaphore) != 0 && errno == EINTR {} }

    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }
}
