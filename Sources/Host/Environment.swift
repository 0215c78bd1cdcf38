import Abstractions

#if canImport(Glibc)
    import Glibc
#endif

/// The environment's variables and the folders that follow from them.
public enum HostEnvironment {
    /// A variable's value, nil when it is unset or empty.
    public static func variable(_ name: String) -> String? {
        guard let value = getenv(name) else { return nil }
        let text = String(cString: value)
        return text.isEmpty ? nil : text
    }

    /// All variables.
    public static var all: [String: String] {
        var variables: [String: String] = [:]
        var cursor = environ
        while let entry = cursor.pointee {
            let parts = String(cString: entry).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if parts.count == 2 { variables[String(parts[0])] = String(parts[1]) }
            cursor += 1
        }
        return variables
    }

    /// The user's home folder.
    public static var home: HostPath { HostPath(variable("HOME") ?? "/tmp") }

    /// Journals and runs: `ANYVISOR_STATE`, `XDG_STATE_HOME/anyvisor` or `~/.local/state/anyvisor`.
    public static var state: HostPath {
        folder("ANYVISOR_STATE", "XDG_STATE_HOME", ".local/state")
    }

    /// Images and everything that can be made again: `ANYVISOR_CACHE`, `XDG_CACHE_HOME/anyvisor` or `~/.cache/anyvisor`.
    public static var cache: HostPath { folder("ANYVISOR_CACHE", "XDG_CACHE_HOME", ".cache") }

    private static func folder(_ own: String, _ xdg: String, _ usual: String) -> HostPath {
        if let path = variable(own) { return HostFiles.absolute(HostPath(path)) }
        if let path = variable(xdg) { return HostPath(path).appending("anyvisor") }
        return home.appending(usual).appending("anyvisor")
    }

    /// The path of a program: itself when it has a slash, else the first in `PATH` or the system's sbin folders; nil when missing.
    public static func program(_ name: String) -> HostPath? {
        if name.contains("/") { return access(name, X_OK) == 0 ? HostPath(name) : nil }
        let folders = (variable("PATH") ?? "/usr/bin:/bin").split(separator: ":").map(String.init)
        for folder in folders + ["/usr/sbin", "/sbin", "/usr/local/sbin"] {
            let path = HostPath(folder).appending(name)
            if access(path.string, X_OK) == 0 { return path }
        }
        return nil
    }

    /// The folder of the running executable.
    public static var executableFolder: HostPath {
        (HostFiles.resolved("/proc/self/exe") ?? HostPath(CommandLine.arguments.first ?? "anyvisor")).parent
    }
}
