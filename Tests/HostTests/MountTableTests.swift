import Abstractions
import Host
import Testing

#if canImport(Glibc)
    import Glibc
#endif

struct MountTableTests {
    @Test("The root is mounted, and it is nobody's server")
    func rootIsThere() {
        let root = MountTable.mounts(below: "/").first { $0.path == "/" }
        #expect(root != nil)
        #expect(root?.isServed == false)
    }

    @Test("Every mount below a folder goes, the ones on top first", .enabled(if: geteuid() == 0, "mounting takes root"))
    func unmountsAll() async throws {
        let folder = try RunScope.makeProcessFolder("mounts")
        let below = folder.appending("a b")
        try HostFiles.makeDirectories(below)
        _ = try await Tool.check("mount", ["-t", "tmpfs", "none", below.string])
        try HostFiles.makeDirectories(below.appending("deeper"))
        _ = try await Tool.check("mount", ["-t", "tmpfs", "none", below.appending("deeper").string])
        #expect(MountTable.mounts(below: folder).map(\.path) == [below, below.appending("deeper")])
        #expect(MountTable.unmountAll(below: folder).isEmpty)
        #expect(MountTable.mounts(below: folder).isEmpty)
        try HostFiles.removeTree(folder)
    }

    @Test("A tree is not removed through a mount", .enabled(if: geteuid() == 0, "mounting takes root"))
    func removalStopsAtMounts() async throws {
        let folder = try RunScope.makeProcessFolder("mounts")
        let point = folder.appending("point")
        try HostFiles.makeDirectories(point)
        _ = try await Tool.check("mount", ["-t", "tmpfs", "none", point.string])
        try HostFiles.write([1], to: point.appending("kept"))
        #expect(throws: BackendError.self) { try HostFiles.removeTree(folder) }
        #expect(HostFiles.exists(point.appending("kept")))
        try RunScope.removeProcessFolder(folder)
        #expect(!HostFiles.exists(folder))
    }
}
