import Abstractions

/// An image as its committed log says it is, for a reader that may not write the log down.
final class PatchedFile: ImageFile {
    private let base: any ImageFile
    private let log: any ImageFile
    private let lengthAfter: Int64
    /// In the image's order, without overlap.
    private let extents: [RedoLog.Extent]

    init(_ base: any ImageFile, _ log: any ImageFile, _ contents: RedoLog.Contents) {
        self.base = base
        self.log = log
        lengthAfter = contents.lengthAfter
        extents = contents.extents.sorted { $0.offset < $1.offset }
    }

    var path: HostPath { base.path }
    func length() throws -> Int64 { max(try base.length(), lengthAfter) }

    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws {
        try base.read(at: offset, into: buffer)
        let end = offset + Int64(buffer.count)
        var (low, high) = (0, extents.count)
        while low < high {
            let middle = (low + high) / 2
            if extents[middle].offset + extents[middle].length <= offset { low = middle + 1 } else { high = middle }
        }
        for extent in extents[low...].prefix(while: { $0.offset < end }) {
            let from = max(offset, extent.offset)
            let count = Int(min(end, extent.offset + extent.length) - from)
            let start = Int(from - offset)
            try log.read(
                at: extent.logOffset + from - extent.offset,
                into: UnsafeMutableRawBufferPointer(rebasing: buffer[start..<start + count]))
        }
    }

    func write(at offset: Int64, from buffer: UnsafeRawBufferPointer) throws { throw readOnly }
    func reserve(at offset: Int64, count: Int64) throws { throw readOnly }
    func truncate(to length: Int64) throws { throw readOnly }
    func sync() throws {}

    private var readOnly: BackendError {
        BackendError(.invalidState, "disk.write", "image \(path) is open for reading only")
    }
}
