import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// A folder that goes with the test.
final class TestFolder: Sendable {
    let path: HostPath

    init() throws {
        var template = Array("/tmp/anyvisor-test.XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw hostError("test", "no folder") }
        path = HostPath(String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self))
    }

    deinit { try? HostFiles.removeTree(path) }

    /// Writes a file and says where.
    func write(_ name: String, _ text: String) throws -> HostPath {
        let file = path.appending(name)
        try HostFiles.makeDirectories(file.parent)
        try HostFiles.write(Array(text.utf8), to: file)
        return file
    }

    /// The fixtures of all tests.
    static var fixtures: HostPath { HostPath(#filePath).parent.parent.appending("Fixtures") }
}
