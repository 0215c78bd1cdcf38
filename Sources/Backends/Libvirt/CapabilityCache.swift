import Abstractions
import Clibvirt
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Fills libvirt's cache of what an emulator can do, once for all processes of a user.
///
/// libvirt probes an emulator by running it a few times, which takes 2 to 4 s, and keeps the answer in its cache folder without
/// a lock. Whoever comes first probes under ours; the others wait for it.
enum CapabilityCache {
    /// Returns when the cache knows the emulator.
    ///
    /// - Throws: what libvirt says when the emulator cannot be probed.
    static func fill(_ connection: LibvirtConnection, _ emulator: HostPath?, _ dialect: LibvirtDialect) throws {
        guard let root = connection.root, let emulator, !isFilled(root) else { return }
        let lock = open(root.cache.appending("lock").string, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard lock >= 0 else { throw hostError("libvirt.open", "cannot open \(root.cache)/lock") }
        defer { close(lock) }
        // Closing gives the lock back; a file system without locks costs a second probe and nothing else.
        while flock(lock, LOCK_EX) != 0 && errno == EINTR {}
        guard !isFilled(root) else { return }
        try connection.withPointer("libvirt.open") { pointer in
            let text = OrphanReaper.watching {
                virConnectGetDomainCapabilities(
                    pointer, emulator.string, "x86_64", dialect.machineType, dialect.domainType, 0)
            }
            guard let text else { throw libvirtError("libvirt.open", "\(emulator) cannot be probed") }
            free(text)
        }
    }

    private static func isFilled(_ root: EmbeddedRoot) -> Bool {
        HostFiles.names(in: root.cache.appending("qemu/capabilities")).contains { $0.hasSuffix(".xml") }
    }
}
