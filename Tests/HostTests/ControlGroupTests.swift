import Abstractions
import Host
import Testing

@Suite("The memory that control groups leave")
final class ControlGroupTests {
    private let folder: HostPath

    init() throws { folder = try RunScope.makeProcessFolder("groups") }
    deinit { try? HostFiles.removeTree(folder) }

    private func write(_ name: String, _ text: String) throws {
        let file = folder.appending(name)
        try HostFiles.makeDirectories(file.parent)
        try HostFiles.write(Array(text.utf8), to: file)
    }

    private func available(in groups: String) throws -> Int64? {
        try write("cgroup", groups)
        return ControlGroup.availableMemory(membership: folder.appending("cgroup"), mount: folder.appending("sys"))
    }

    @Test("the limit less what is used, but for the files that can be dropped")
    func second() throws {
        try write("sys/a/memory.max", "1000\n")
        try write("sys/a/memory.current", "700\n")
        try write("sys/a/memory.stat", "anon 300\ninactive_file 400\n")
        #expect(try available(in: "0::/a\n") == 700)
    }

    @Test("the group above has a say too")
    func above() throws {
        try write("sys/memory.max", "max\n")
        try write("sys/memory.current", "1\n")
        try write("sys/a/memory.max", "500\n")
        try write("sys/a/memory.current", "450\n")
        try write("sys/a/b/memory.max", "1000\n")
        try write("sys/a/b/memory.current", "0\n")
        #expect(try available(in: "0::/a/b\n") == 50)
    }

    @Test("the first version has other names, and a number for no limit")
    func first() throws {
        try write("sys/memory/memory.limit_in_bytes", "9223372036854771712\n")
        try write("sys/memory/memory.usage_in_bytes", "5\n")
        #expect(try available(in: "4:memory:/\n2:cpu,cpuacct:/\n0::/\n") == nil)
        try write("sys/memory/c/memory.limit_in_bytes", "4096\n")
        try write("sys/memory/c/memory.usage_in_bytes", "5000\n")
        try write("sys/memory/c/memory.stat", "inactive_file 1\ntotal_inactive_file 1000\n")
        #expect(try available(in: "4:hugetlb,memory:/c\n0::/\n") == 96)
        try write("sys/memory/c/memory.usage_in_bytes", "9000\n")
        #expect(try available(in: "4:memory:/c\n") == 0)
    }

    @Test("a container that does not see the host's names is bound by its own group")
    func container() throws {
        try write("sys/memory.max", "300\n")
        try write("sys/memory.current", "100\n")
        #expect(try available(in: "0::/host/slice/container\n") == 200)
    }

    @Test("a kernel without control groups sets no limit")
    func none() throws {
        #expect(try available(in: "") == nil)
        #expect(ControlGroup.availableMemory(membership: folder.appending("nothing")) == nil)
    }
}
