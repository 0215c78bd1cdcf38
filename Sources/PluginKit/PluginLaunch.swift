import Abstractions
import Host

/// How a plugin's process is started: nothing of our environment goes along but what is named here.
struct PluginLaunch: Sendable {
    var name: String
    var program: HostPath
    var arguments: [String]
    /// The run that the process belongs to.
    var scope = RunScope.current
    /// The mark of all processes of this one life.
    var instance = String((0..<16).compactMap { _ in "0123456789abcdef".randomElement() })

    private static let passedOn: Set<String> = [
        "PATH", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME", "SSH_AUTH_SOCK",
    ]

    var environment: [String: String] {
        var environment = HostEnvironment.all.filter { name, _ in
            Self.passedOn.contains(name) || name.hasPrefix("ANYVISOR_") || name.hasPrefix("LIBGUESTFS_")
                || name.hasPrefix("VBOX_")
        }
        if let scope {
            environment.merge(scope.environment) { $1 }
            // In a run every temporary file belongs into the run's own folder, which `reap` removes whole.
            environment["TMPDIR"] = scope.work.string
        }
        environment["LC_ALL"] = "C.UTF-8"
        environment[Wire.cookie] = "1"
        environment[Wire.instance] = instance
        return environment
    }
}
