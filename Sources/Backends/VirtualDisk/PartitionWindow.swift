import Abstractions

/// A part of a device, as a device.
public final class PartitionWindow: BlockDevice {
    private let device: any BlockDevice
    private let start: Int64
    /// See `BlockDevice`.
    public let size: Int64

    /// Shows `size` bytes from `start` on.
    ///
    /// - Throws: `invalidArgument` when they are outside the device.
    public init(_ device: any BlockDevice, start: Int64, size: Int64) throws {
        guard start >= 0, size >= 0, start <= device.size, size <= device.size - start else {
            throw BackendError(
                .invalidArgument, "disk.partition", "a partition reaches past the end of the disk", blame: .disk)
        }
        self.device = device
        self.start = start
        self.size = size
    }

    /// Shows a volume.
    public convenience init(_ device: any BlockDevice, _ volume: Volume) throws {
        try self.init(device, start: volume.offset.bytes, size: volume.size.bytes)
    }

    /// See `BlockDevice`.
    public func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws {
        try checkRange(offset, buffer.count, size)
        try device.read(at: start + offset, into: buffer)
    }

    /// See `BlockDevice`.
    public func write(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws {
        try checkRange(offset, buffer.count, size)
        try device.write(at: start + offset, from: buffer)
    }

    /// Passed on when the device is a transaction, else the same as `write`.
    public func writeFresh(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws {
        try checkRange(offset, buffer.count, size)
        if let transaction = device as? DiskTransaction {
            try transaction.writeFresh(at: start + offset, from: buffer)
        } else {
            try device.write(at: start + offset, from: buffer)
        }
    }

    /// See `BlockDevice`.
    public func flush() throws { try device.flush() }
}
