import Abstractions
import VirtualDisk

/// The disk behind the server's files.
final class ServedDisk {
    let files: [ServedFile]
    private let view: any ServedView

    init(_ view: any ServedView) throws {
        var files: [ServedFile] = []
        let whole = view.volumes.first { $0.id == .whole }
        files.append(
            ServedFile(
                name: "EntireDisk", volume: whole, offset: 0, size: view.size,
                objection: try whole.flatMap { try view.objection(to: $0) }))
        for volume in view.volumes where volume.id != .whole {
            files.append(
                ServedFile(
                    name: "Partition\(volume.id.rawValue.drop { !$0.isNumber })", volume: volume,
                    offset: volume.offset.bytes, size: volume.size.bytes, objection: try view.objection(to: volume)))
        }
        self.view = view
        self.files = files
    }

    var isWritable: Bool { view.mode == .readWrite }

    /// The first write that failed.
    var failure: BackendError? { view.failure }

    /// See `ServedView`.
    var syncDeadline: ContinuousClock.Instant? { view.syncDeadline }

    /// Fills the buffer from a file; the caller has cut the range to the file's size.
    func read(_ file: ServedFile, at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws {
        try view.read(at: file.offset + offset, into: buffer)
    }

    /// Writes to a file; the caller has cut the range to the file's size.
    func write(_ file: ServedFile, at offset: Int64, from buffer: UnsafeRawBufferPointer) throws {
        try view.write(at: file.offset + offset, from: buffer)
    }

    /// What a client's fsync asks for.
    func sync() throws { try view.sync() }

    /// Makes everything durable, or throws and leaves the image as it was.
    func commit() throws { try view.commit() }

    /// Drops what is not committed and lets the image go.
    func close() { view.close() }
}
