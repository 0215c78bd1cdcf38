import Abstractions
import Synchronization
import VirtualDisk

/// A volume as a device that stays while the transactions beneath it change.
final class VolumeDevice: BlockDevice {
    let size: Int64
    private let window: Mutex<PartitionWindow>

    init(_ window: PartitionWindow) {
        size = window.size
        self.window = Mutex(window)
    }

    private var current: PartitionWindow { window.withLock { $0 } }

    /// Goes on with the next transaction.
    func move(to next: PartitionWindow) { window.withLock { $0 = next } }

    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws {
        try current.read(at: offset, into: buffer)
    }

    func write(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws {
        try current.write(at: offset, from: buffer)
    }

    func writeFresh(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws {
        try current.writeFresh(at: offset, from: buffer)
    }

    func flush() throws {}
}
