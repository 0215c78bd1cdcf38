import Abstractions

/// Does an operation on an image with the first disk backend that can: when one fails for a reason that is its own, the next
/// does the same operation again from its beginning.
///
/// A session that is not committed has changed nothing, so the next backend starts from the same image.
actor DiskChain {
    private var order: [BackendDescriptor]
    private let candidates: Candidates
    private var open: [String: any DiskAccess] = [:]
    private let reject: @Sendable (BackendDescriptor, BackendError) -> Void

    init(_ candidates: Candidates, reject: @escaping @Sendable (BackendDescriptor, BackendError) -> Void) {
        self.candidates = candidates
        self.reject = reject
        order = candidates.descriptors
    }

    /// Runs `body` on the file system that fills the image.
    ///
    /// - Throws: the first error that does not fall through; `unavailable` with all causes when no backend is left.
    func perform<Value: Sendable>(
        _ operation: String, on image: DiskImage, _ mode: AccessMode,
        _ body: @escaping @Sendable (any GuestFilesystem, any DiskSession) async throws -> Value
    ) async throws -> (value: Value, backend: RunResult.BackendRecord) {
        var failures: [BackendError] = candidates.missing.map(\.error)
        for descriptor in order {
            do {
                let access = try await access(descriptor)
                let info = try await access.info()
                guard info.formats.contains(image.format) else {
                    throw BackendError(
                        .unsupported, operation, "does not open \(image.format) images", backend: descriptor.name)
                }
                let value = try await Self.session(access, image, mode, body)
                return (value, .init(name: descriptor.name, version: info.version))
            } catch {
                let known = BackendError.wrapping(error, operation).named(descriptor.name)
                if Task.isCancelled { throw CancellationError() }
                guard known.code.fallsThrough else { throw known }
                failures.append(known)
                reject(descriptor, known)
                drop(descriptor)
            }
        }
        throw BackendError(
            .unavailable, operation, "no disk backend is left of: \(names)", blame: .backend, causes: failures)
    }

    private var names: String {
        (candidates.missing.map(\.backend) + candidates.descriptors.map(\.name)).joined(separator: ", ")
    }

    private static func session<Value: Sendable>(
        _ access: any DiskAccess, _ image: DiskImage, _ mode: AccessMode,
        _ body: @Sendable (any GuestFilesystem, any DiskSession) async throws -> Value
    ) async throws -> Value {
        let session = try await access.open(image, mode)
        do {
            let value = try await body(try await session.filesystem(on: .whole), session)
            try await session.close()
            return value
        } catch {
            // The body's error wins; a dead backend's session cannot be closed anyway. Shielded: the body may have ended
            // because the caller was cancelled.
            let closing = Task { try? await session.close() }
            if !BackendError.wrapping(error, "disk").code.fallsThrough { await closing.value }
            throw error
        }
    }

    private func access(_ descriptor: BackendDescriptor) async throws -> any DiskAccess {
        if let access = open[descriptor.name] { return access }
        guard case .disk(let make) = descriptor.factory else {
            throw BackendError(.internal, "disk", "'\(descriptor.name)' is no disk backend")
        }
        let access = try await make(try candidates.values(for: descriptor))
        open[descriptor.name] = access
        return access
    }

    /// Puts a backend at the end of the order and lets go of it, without waiting: it may hang.
    private func drop(_ descriptor: BackendDescriptor) {
        order.removeAll { $0.name == descriptor.name }
        order.append(descriptor)
        guard let access = open.removeValue(forKey: descriptor.name) else { return }
        Task { await access.close() }
    }

    /// Closes every backend.
    func close() async {
        for access in open.values { await access.close() }
        open = [:]
    }
}
