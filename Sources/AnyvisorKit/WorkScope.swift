import Abstractions
import Host
import VirtualDisk

/// A run scope of its own for a piece of work: temporary files, child processes and locks go when it ends, however it ends.
///
/// Only the task works in the scope. Of the process nothing changes: no variable, no signal handler, no working folder.
package struct WorkScope: Sendable {
    /// The scope.
    package let scope: RunScope
    private let lock: FileLock

    /// Makes the scope; `run` must follow, once.
    ///
    /// - Throws: what the host says.
    package init(in state: HostPath = HostEnvironment.state) throws { (scope, lock) = try RunScope.make(in: state) }

    /// Runs the body in the scope and removes the scope.
    ///
    /// - Parameter leftover: told why the scope could not be removed; `anyvisor reap` does it later.
    /// - Throws: what the body throws.
    package func run<Value: Sendable>(
        leftover: @Sendable (BackendError) -> Void, _ body: @Sendable (RunScope) async throws -> Value
    ) async throws -> Value {
        try await RunScope.$adopted.withValue(scope) {
            let result: Result<Value, any Error>
            do {
                result = .success(try await body(scope))
            } catch {
                result = .failure(error)
            }
            // Clearing up goes on when the work was cancelled.
            await Task { await recoverImages() }.value
            do {
                try scope.remove()
            } catch {
                leftover(BackendError.wrapping(error, "scope"))
            }
            withExtendedLifetime(lock) {}
            return try result.get()
        }
    }

    /// A plugin that died, or had no room, may have left something beside an image.
    private func recoverImages() async {
        let records = (try? scope.journal.records()) ?? []
        for case .redo(let image) in Set(records) where VirtualDisk.hasLeftovers(image) {
            _ = await onOwnThread { Result { try VirtualDisk.recover(image) } }
        }
    }
}
