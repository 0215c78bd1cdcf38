import Abstractions
import Host

/// Where the files that belong to anyvisor lie: with the running program, else with the `anyvisor` in `PATH`.
package enum ResourceFolders {
    /// The folder `plugins` or `guest`, nil when there is none.
    package static func find(_ name: String) -> HostPath? {
        programs.lazy.compactMap { find(name, besides: $0) }.first
    }

    /// Where the plugins' programs are searched, in order.
    package static var programs: [HostPath] {
        let installed = HostEnvironment.program("anyvisor").flatMap { HostFiles.resolved($0) }?.parent
        let own = HostEnvironment.executableFolder
        return [own] + [installed].compactMap(\.self).filter { $0 != own }
    }

    /// Where the programs of a `plugins` folder are searched: in its own installation first.
    static func programs(of plugins: HostPath) -> [HostPath] {
        let isInstalled = plugins.string.hasSuffix("/lib/anyvisor/plugins")
        return (isInstalled ? [plugins.parent.parent.parent.appending("bin")] : []) + programs
    }

    /// The folder that belongs to the programs in another one: installed beside them, or in the checkout they were built from.
    private static func find(_ name: String, besides programs: HostPath) -> HostPath? {
        let installed = programs.parent.appending("lib/anyvisor").appending(name)
        if HostFiles.isDirectory(installed) { return installed }
        var folder = programs
        while folder.string != "/" {
            let candidate = folder.appending(name)
            if HostFiles.isDirectory(candidate) && HostFiles.exists(folder.appending("guest/agent")) {
                return candidate
            }
            folder = folder.parent
        }
        return nil
    }
}
