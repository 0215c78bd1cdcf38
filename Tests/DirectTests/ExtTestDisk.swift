import Abstractions
import CHost
import Host
import VirtualDisk

@testable import BackendSupport
@testable import DirectBackend

#if canImport(Glibc)
    import Glibc
#endif

/// A raw file as a block device that writes through, for tests of the file system alone.
final class RawDevice: BlockDevice {
    let size: Int64
    private let descriptor: Int32

    init(_ path: HostPath) throws {
        descriptor = open(path.string, O_RDWR | O_CLOEXEC)
        size = Int64(lseek(descriptor, 0, SEEK_END))
        guard descriptor >= 0 else { throw hostError("test", "cannot open \(path)") }
    }

    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws {
        guard pread(descriptor, buffer.baseAddress, buffer.count, Int(offset)) == buffer.count else {
            throw hostError("test", "short read at \(offset)")
        }
    }

    func write(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws {
        guard pwrite(descriptor, buffer.baseAddress, buffer.count, Int(offset)) == buffer.count else {
            throw hostError("test", "short write at \(offset)")
        }
    }

    func flush() throws {}

    deinit { close(descriptor) }
}

/// A folder of a test, removed with everything in it.
final class TestFolder {
    let path: HostPath

    init() throws {
        var template = Array("/tmp/anyvisor-test-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw hostError("test", "cannot make a folder") }
        path = HostPath(String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self))
    }

    func file(_ name: String) -> HostPath { path.appending(name) }

    deinit {
        // Trees of any depth: a path to their end may be too long for the host.
        let parent = open("/tmp", O_RDONLY | O_DIRECTORY)
        try? TreeRemover.remove(path.name, below: parent)
        close(parent)
    }
}

/// Runs a shell line and returns its output; its failure is the test's.
func shell(_ line: String) async throws -> String {
    let outcome = try await Tool.run("bash", ["-c", line], deadline: .seconds(100))
    guard outcome.exit == .exited(0) else {
        throw BackendError(.internal, "test", "\(line): \(outcome.exit) \(outcome.text) \(outcome.errors)")
    }
    return outcome.text
}

/// A raw image with one file system, made by mke2fs.
func makeImage(_ folder: TestFolder, _ size: String, _ arguments: String = "-t ext4") async throws -> HostPath {
    let image = folder.file("disk.raw")
    _ = try await shell("truncate -s \(size) \(image) && mke2fs -q -F \(arguments) \(image)")
    return image
}

/// What e2fsck says without changing anything; throws when it finds a fault.
func fsck(_ image: HostPath) async throws {
    _ = try await shell("e2fsck -fn \(image) 2>&1")
}

func openRaw(_ image: HostPath) throws -> ExtFilesystem {
    let device = try RawDevice(image)
    return try ExtFilesystem(device, volume: .whole) { try device.write(at: $0, from: $1) }
}
