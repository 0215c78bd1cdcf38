import Abstractions
import Host

/// Runs `body` with a private folder and removes it.
func withFolder<Value>(_ body: (HostPath) async throws -> Value) async throws -> Value {
    let folder = try RunScope.makeProcessFolder("test")
    do {
        let value = try await body(folder)
        try HostFiles.removeTree(folder)
        return value
    } catch {
        try? HostFiles.removeTree(folder)
        throw error
    }
}
