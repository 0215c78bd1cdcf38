import Abstractions

extension FileLock {
    /// Takes a lock that others may hold for a while.
    ///
    /// - Throws: `inUse` when the time is over, `CancellationError`, what the host says.
    public static func waiting(for path: HostPath, within limit: Duration) async throws -> FileLock {
        let deadline = ContinuousClock.now + limit
        while true {
            do {
                return try FileLock(path)
            } catch let error as BackendError where error.code == .inUse && ContinuousClock.now < deadline {
                try await Task.sleep(for: .milliseconds(50))
            }
        }
    }
}
