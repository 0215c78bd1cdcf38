import Abstractions
import Filters

#if canImport(Glibc)
    import Glibc
#endif

/// Writes a new file; a fake backend's half of a copy.
func writeFile(_ path: HostPath, _ bytes: [UInt8]) throws {
    let descriptor = open(path.string, O_WRONLY | O_CREAT | O_EXCL, 0o644)
    guard descriptor >= 0 else { throw BackendError(.alreadyExists, "test", "\(path) exists") }
    _ = write(descriptor, bytes, bytes.count)
    close(descriptor)
}

/// A new private folder.
func temporaryFolder() throws -> HostPath {
    guard let path = mkdtemp(strdup("/tmp/anyvisor-filter-test-XXXXXX")) else {
        throw BackendError(.internal, "test", "cannot make a folder")
    }
    defer { free(path) }
    return HostPath(String(cString: path))
}

/// The names in a folder.
func names(in folder: HostPath) -> [String] {
    guard let stream = opendir(folder.string) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
        let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
}

/// Removes a folder of files, one level of folders deep.
func removeFolder(_ folder: HostPath) throws {
    for name in names(in: folder) {
        let path = folder.appending(name)
        if unlink(path.string) != 0 { try removeFolder(path) }
    }
    rmdir(folder.string)
}

let crash = BackendError(.crashed, "plugin", "the plugin died (signal 9)", retry: .reopen)
let image = DiskImage(path: "/fake.raw", format: .raw)

/// A chain of backends over one image, the first with these faults.
func chain(
    _ disk: FakeImage, _ faults: [FaultFilter.Fault], log: FallbackLog = FallbackLog(), backends: [String] = ["a", "b"]
) -> FallbackDisk {
    let candidates = backends.enumerated().map { index, name in
        Candidate<any DiskAccess>(name) {
            index == 0
                ? FakeDisk(name: name, image: disk).intercepted(by: FaultFilter(faults))
                : FakeDisk(name: name, image: disk)
        }
    }
    return FallbackDisk(
        candidates, log: log, staging: CopyStaging(announce: { _ in }, remove: { try removeFolder($0) }))
}

/// What the body throws, as a `BackendError`.
func failure(_ body: () async throws -> Void) async -> BackendError? {
    do {
        try await body()
        return nil
    } catch {
        return BackendError.wrapping(error, "test")
    }
}
