import Abstractions
import Host
import PluginKit

#if canImport(Glibc)
    import Glibc
#endif

/// A disk plugin in Python whose answer to `disk.check` is what the test wants to see.
///
/// It answers `initialize`, and `disk.info` with its process id as the version.
struct ScriptedPlugin {
    let folder: HostPath

    /// Writes the plugin's folder.
    ///
    /// - Parameters:
    ///   - greeting: Python that says the first line.
    ///   - check: Python that is run for `disk.check`; `request` is the request, `send(...)` writes a line.
    init(greeting: String = "hello()", check: String = "send(id=request['id'], result={'value': []})") throws {
        folder = try temporaryFolder()
        let body = check.split(separator: "\n", omittingEmptySubsequences: false).joined(separator: "\n        ")
        let script = """
            #!/usr/bin/env python3
            import json, os, signal, subprocess, sys, time
            def send(**message):
                sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\\n")
                sys.stdout.flush()
            def hello(protocol=[1, 1], kind="disk", features=[]):
                sys.stdout.write(json.dumps({"protocol": protocol, "kind": kind, "name": "scripted", "version": "1",
                                             "features": features}) + "\\n")
                sys.stdout.flush()
            \(greeting)
            for line in sys.stdin:
                request = json.loads(line)
                if request["method"] == "initialize":
                    send(id=request["id"], result={})
                elif request["method"] == "disk.info":
                    send(id=request["id"], result={"name": "scripted", "version": str(os.getpid()), "features": [],
                                                   "formats": [], "fileSystems": []})
                elif request["method"] == "disk.check":
                    \(body)
            """
        try HostFiles.write(Array(script.utf8), to: folder.appending("plugin.py"), mode: 0o755)
        try HostFiles.write(
            Array(#"{"name": "scripted", "kind": "disk", "program": "plugin.py"}"#.utf8),
            to: folder.appending("plugin.json"))
    }

    /// The backend behind it.
    func disk() async throws -> any DiskAccess {
        guard case .disk(let make) = try PluginManifest(folder: folder).descriptor().factory else {
            throw BackendError(.internal, "test", "not a disk plugin")
        }
        return try await make(try OptionValues([:], declared: []))
    }

    func remove() { try? HostFiles.removeTree(folder) }
}

extension DiskAccess {
    /// The process that a scripted plugin runs in.
    func process() async throws -> ProcessIdentity {
        guard let pid = Int32(try await info().version), let process = ProcessIdentity(pid: pid) else {
            throw BackendError(.internal, "test", "the plugin does not say its process id")
        }
        return process
    }
}

/// A new private folder.
func temporaryFolder() throws -> HostPath {
    guard let path = mkdtemp(strdup("/tmp/anyvisor-plugin-test-XXXXXX")) else {
        throw hostError("test", "cannot make a folder")
    }
    defer { free(path) }
    return HostPath(String(cString: path))
}

/// What the body throws, as a `BackendError`.
func failure(_ body: () async throws -> Void) async -> BackendError? {
    do {
        try await body()
        return nil
    } catch {
        return BackendError.wrapping(error, "test")
    }
}
