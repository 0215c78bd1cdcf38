import Abstractions
import Host
import Synchronization

@testable import VirtualDisk

#if canImport(Glibc)
    import Glibc
#endif

/// A host whose calls stop working at the nth one: every call that changes something counts.
final class FragileHost: SidecarFolder, Sendable {
    /// What happens at the nth call.
    enum Fault: Sendable {
        /// The process is gone: this call does half its work, the later ones, cleanup too, nothing.
        case death
        /// This call fails with an errno, the later ones work.
        case failure(Int32)
    }

    private let fault: Fault
    private let left: Mutex<Int>
    private let real = HostFolder()

    init(_ fault: Fault, after calls: Int) {
        self.fault = fault
        left = Mutex(calls)
    }

    /// Whether the fault has happened.
    var hasStruck: Bool { left.withLock { $0 < 0 } }

    /// Counts a call; runs `half` of it where the process dies.
    func step(half: () throws -> Void = {}) throws {
        let number = left.withLock { left in
            left -= 1
            return left
        }
        switch fault {
        case .death where number == -1:
            try half()
            throw BackendError(.crashed, "test", "the process died here")
        case .death where number < -1: throw BackendError(.crashed, "test", "the process is dead")
        case .failure(let code) where number == -1: throw hostError("test", "a fault of the host", errno: code)
        default: return
        }
    }

    func open(_ image: DiskImage) throws -> VirtualDisk {
        try VirtualDisk(image, .readWrite, FragileFile(try PosixFile(image.path, O_RDWR), self), self)
    }

    func create(_ path: HostPath, beside image: any ImageFile) throws -> any ImageFile {
        try step()
        return FragileFile(try real.create(path, beside: image), self)
    }
    func rename(_ path: HostPath, to target: HostPath) throws {
        try step()
        try real.rename(path, to: target)
    }
    func remove(_ path: HostPath) throws {
        try step()
        try real.remove(path)
    }
    func sync(_ folder: HostPath) throws {
        try step()
        try real.sync(folder)
    }
}

/// A file of that host.
private final class FragileFile: ImageFile {
    private let base: any ImageFile
    private let host: FragileHost

    init(_ base: any ImageFile, _ host: FragileHost) {
        self.base = base
        self.host = host
    }

    var path: HostPath { base.path }
    func length() throws -> Int64 { try base.length() }
    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws {
        try base.read(at: offset, into: buffer)
    }
    func write(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws {
        try host.step {
            try base.write(at: offset, from: UnsafeRawBufferPointer(rebasing: buffer[..<(buffer.count / 2)]))
        }
        try base.write(at: offset, from: buffer)
    }
    func reserve(at offset: Int64, count: Int64) throws {
        try host.step()
        try base.reserve(at: offset, count: count)
    }
    func truncate(to length: Int64) throws {
        try host.step()
        try base.truncate(to: length)
    }
    func sync() throws {
        try host.step()
        try base.sync()
    }
}
