import Abstractions
import Synchronization

/// Objects of the backend behind the opaque strings that stand for them on the wire.
final class HandleTable<Object: Sendable>: Sendable {
    private let prefix: String
    private let state = Mutex<(next: Int, objects: [String: Object])>((1, [:]))

    init(_ prefix: String) { self.prefix = prefix }

    func add(_ object: Object) -> String {
        state.withLock { state in
            let handle = "\(prefix)\(state.next)"
            state.next += 1
            state.objects[handle] = object
            return handle
        }
    }

    /// - Throws: `notFound`, to be opened again.
    func find(_ handle: String) throws -> Object {
        guard let object = state.withLock({ $0.objects[handle] }) else {
            throw BackendError(.notFound, "wire", "no handle '\(handle)' here", retry: .reopen)
        }
        return object
    }

    func remove(_ handle: String) { state.withLock { _ = $0.objects.removeValue(forKey: handle) } }
}
