/// Bytes of a virtual disk, in order, from 0 to `size`.
///
/// Calls block and may come from any thread; each is atomic towards the others. A range outside the device throws
/// `invalidArgument`. A write is seen by every later read at once, and durable after `flush`, or, on a transaction, `commit`.
public protocol BlockDevice: AnyObject, Sendable {
    /// The number of bytes.
    var size: Int64 { get }
    /// Fills the buffer with the bytes from `offset` on.
    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws
    /// Writes the buffer's bytes from `offset` on.
    func write(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws
    /// Makes earlier writes durable; on a transaction it does nothing, since `commit` does.
    func flush() throws
}

extension BlockDevice {
    /// The bytes of a range, for headers and tests.
    public func bytes(at offset: Int64, count: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        try bytes.withUnsafeMutableBytes { try read(at: offset, into: $0) }
        return bytes
    }

    /// Writes an array's bytes.
    public func write(at offset: Int64, bytes: [UInt8]) throws {
        try bytes.withUnsafeBytes { try write(at: offset, from: $0) }
    }
}
