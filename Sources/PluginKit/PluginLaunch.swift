import Abstractions
import Host

/// How a plugin's process is started: nothing of our environment goes along but what is named here.
struct PluginLaunch: Sendable {
    var name: String
    var program: HostPath
    var arguments: [String]
    /// The mark of all processes of this one life.
    var instance = String((0..<16).compactMap { _ in "0123456789abcdef".randomElement() })

    private static let passedOn: Set<String> = [
        "PATH", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CACHE_HOME",
    ]

    var environment: [String: String] {
        var environment = HostEnvironment.all.filter { name, _ in
            Self.passedOn.contains(name) || name.hasPrefix("ANYVISOR_") || name.hasPrefix("LIBGUESTFS_")
        }
        environment["LC_ALL"] = "C.UTF-8"
        environment[Wire.cookie] = "1"
        environment[Wire.instance] = instance
        return environment
    }
}
