import Abstractions
import Clibvirt
import Host
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// The folder in which libvirt's driver lives when it runs inside this process.
///
/// ```
/// ROOT/etc/qemu.conf      how QEMU is started, written here before libvirt reads it
///      cache -> CACHE/libvirt-qemu/<libvirt version>   what QEMU can do; probing it takes seconds
///      started/UUID       a machine that was started once: libvirt forgets that with its process
///      consoles/          serial consoles that nobody else asked for
///      run/qemu/NAME.pid  log/qemu/NAME.log  lib/qemu/domain-N-NAME/monitor.sock   libvirt's
///      lock               held while the process lives
/// ```
final class EmbeddedRoot: Sendable {
    /// The folder.
    let path: HostPath
    private let lock: FileLock
    /// Whether the folder is nobody's but this process's, and goes with its last connection.
    private let isPrivate: Bool
    private let users = Mutex(0)
    private let shared = Mutex<Driver?>(nil)

    /// libvirt takes one root for each process, until the process ends, so this process has one too.
    private static let current = Mutex<EmbeddedRoot?>(nil)

    private init(path: HostPath, lock: FileLock, isPrivate: Bool) {
        self.path = path
        self.lock = lock
        self.isPrivate = isPrivate
    }

    /// The root of this process, made ready for a connection; each call is followed by one of `leave`.
    ///
    /// - Parameter wish: the folder that an option names; nil takes one of the run's.
    /// - Throws: `inUse` when another process has the root, `invalidArgument` when this process has another one already.
    static func enter(_ wish: HostPath?) throws -> EmbeddedRoot {
        try current.withLock { current in
            let root = try current ?? make(wish)
            if let wish, root.path != HostFiles.resolved(wish) ?? wish {
                throw BackendError(
                    .invalidArgument, "libvirt.open",
                    "libvirt has its root in \(root.path) for as long as this process lives, it cannot move to \(wish)")
            }
            current = root
            // First of all: any other call would initialize libvirt with its log on standard error.
            try LibvirtRuntime.start(log: root.path.appending("libvirt.log"))
            try root.prepare()
            root.users.withLock { $0 += 1 }
            return root
        }
    }

    /// Ends one use. With the last one a private folder goes, unless machines still run in it.
    func leave(isIdle: Bool) {
        EmbeddedRoot.current.withLock { _ in
            let left = users.withLock { users in
                users -= 1
                return users
            }
            if left == 0 && isPrivate && isIdle { try? HostFiles.removeTree(path) }
        }
    }

    /// The one connection of the process, and its events.
    struct Driver: @unchecked Sendable {
        // libvirt's own counted object, which is safe between threads.
        let pointer: OpaquePointer
        let events = DomainEvents()
    }

    /// A reference to the driver, which `open` connects to when nobody has yet; that connection stays.
    ///
    /// Each opening registers the driver once more, of which libvirt takes about twenty in a process; and two at once find the driver half
    /// made, with which libvirt 9.0 crashes.
    /// - Throws: what `open` throws, what libvirt says when it reports no events.
    func driver(_ open: () throws -> OpaquePointer) throws -> Driver {
        try shared.withLock { shared in
            if let shared {
                virConnectRef(shared.pointer)
                return shared
            }
            let driver = Driver(pointer: try open())
            guard driver.events.listen(driver.pointer) >= 0 else {
                let failure = libvirtError("libvirt.open", "\(uri) reports no events")
                virConnectClose(driver.pointer)
                throw failure
            }
            shared = driver
            virConnectRef(driver.pointer)
            return driver
        }
    }

    /// What libvirt calls it.
    var uri: String { "qemu:///embed?root=\(path)" }

    /// Where consoles go that no file was named for.
    var consoles: HostPath { path.appending("consoles") }
    /// Marks of the machines that were started, by uuid.
    var started: HostPath { path.appending("started") }
    /// What QEMU printed.
    func log(of machine: MachineID) -> HostPath { path.appending("log/qemu/\(machine).log") }
    /// The number of a machine's QEMU.
    func pidFile(of machine: MachineID) -> HostPath { path.appending("run/qemu/\(machine).pid") }
    /// Where libvirt keeps what it found out about QEMU.
    var cache: HostPath {
        HostEnvironment.cache.appending("libvirt-qemu").appending(LibvirtRuntime.version)
    }

    private static func make(_ wish: HostPath?) throws -> EmbeddedRoot {
        if let wish {
            let path = HostFiles.absolute(wish)
            try HostFiles.makeDirectories(path, mode: 0o700)
            let real = HostFiles.resolved(path) ?? path
            return EmbeddedRoot(path: real, lock: try takeLock(real), isPrivate: false)
        }
        guard let scope = RunScope.current, HostFiles.isDirectory(scope.shortDirectory) else {
            let path = try RunScope.makeProcessFolder("libvirt", short: true)
            return EmbeddedRoot(path: path, lock: try takeLock(path), isPrivate: true)
        }
        // The root of a process that died comes first: a machine that it left behind is then seen again.
        for number in 1...99 {
            let path = scope.shortDirectory.appending("libvirt\(number)")
            do {
                try HostFiles.makeDirectories(path, mode: 0o700)
                return EmbeddedRoot(path: path, lock: try takeLock(path), isPrivate: false)
            } catch let error as BackendError where error.code == .inUse {
                continue
            }
        }
        throw BackendError(.inUse, "libvirt.open", "99 processes of this run have a libvirt root already")
    }

    private static func takeLock(_ root: HostPath) throws -> FileLock { try FileLock(root.appending("lock")) }

    private func prepare() throws {
        for folder in ["etc", "consoles", "started"] {
            try HostFiles.makeDirectories(path.appending(folder), mode: 0o700)
        }
        try HostFiles.write(Array(EmbeddedRoot.configuration.utf8), to: path.appending("etc/qemu.conf"))
        try HostFiles.makeDirectories(cache, mode: 0o700)
        let link = path.appending("cache")
        if !HostFiles.exists(link), symlink(cache.string, link.string) != 0, errno != EEXIST {
            throw hostError("libvirt.open", "cannot make link \(link)")
        }
    }

    /// See `qemu.conf`; as root libvirt would run QEMU as another user and change the owner of every image.
    private static var configuration: String {
        var lines = ["security_driver = \"none\"", "stdio_handler = \"file\""]
        if geteuid() == 0 {
            lines += [
                "user = \"root\"", "group = \"root\"", "dynamic_ownership = 0", "remember_owner = 0", "namespaces = []",
                "cgroup_controllers = []",
            ]
        }
        return lines.joined(separator: "\n") + "\n"
    }
}
