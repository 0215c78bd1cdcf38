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
            do {
                // Clearing up goes on when the work was cancelled.
                try await Task { try await recoverImages() }.value
                if let left = scope.left { throw BackendError(.inUse, "scope", left) }
                try scope.remove()
            } catch {
                leftover(BackendError.wrapping(error, "scope"))
            }
            withExtendedLifetime(lock) {}
            return try result.get()
        }
    }

    /// A plugin that died, or had no room, may have left something beside an image.
    ///
    /// - Throws: why something of this run is still there.
    private func recoverImages() async throws {
        let records = (try? scope.journal.records()) ?? []
        for case .redo(let image) in Set(records) where VirtualDisk.hasLeftovers(image) {
            try await onOwnThread { Result { try recover(image) } }.get()
        }
    }

    private func recover(_ image: DiskImage) throws {
        var failure: (any Error)?
        // Whoever was killed holds the image until its end.
        _ = eventually(within: .seconds(5)) {
            do {
                try VirtualDisk.recover(image)
            } catch let error as BackendError where error.code == .inUse {
                failure = error
                return !VirtualDisk.hasDrafts(image, of: scope)
            } catch {
                failure = error
            }
            return true
        }
        // A log of somebody who writes now is none of this run's.
        if let failure, VirtualDisk.hasDrafts(image, of: scope) { throw failure }
    }
}
