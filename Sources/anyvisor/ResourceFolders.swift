import Abstractions
import Host

/// Where the files that belong to the program lie: beside an installed one, or in the checkout it was built from.
enum ResourceFolders {
    /// The folder `plugins` or `guest`, nil when there is none.
    static func find(_ name: String) -> HostPath? {
        let executable = HostEnvironment.executableFolder
        let installed = executable.parent.appending("lib/anyvisor").appending(name)
        if HostFiles.isDirectory(installed) { return installed }
        var folder = executable
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
