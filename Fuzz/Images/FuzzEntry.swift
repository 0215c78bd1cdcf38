import Abstractions
import FuzzDriver

@testable import VirtualDisk

/// Mutates images for libFuzzer; its options are those of https://llvm.org/docs/LibFuzzer.html.
@main struct FuzzImages {
    static func main() { fuzz { fuzzOneInput($0, $1) } }
}

private func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard let image = PatchedImage(UnsafeRawBufferPointer(start: start, count: count)) else { return -1 }
    do {
        try Parser.all[Int(image.kind) % Parser.all.count].run(image)
    } catch let error as BackendError {
        demand(
            [.corrupt, .unsupported, .notFound].contains(error.code), "not an error of a damaged image: \(error)")
        demand(!error.message.isEmpty, "an error that says nothing")
    } catch {
        fatalError("not a BackendError: \(error)")
    }
    return 0
}

/// One of the parsers that hostile bytes reach.
struct Parser: Sendable {
    var run: @Sendable (PatchedImage) throws -> Void

    /// The first byte of an input chooses; the order is kept by the corpus.
    static let all: [Parser] = [
        Parser { _ = try $0.volumes() },
        Parser { image in
            GPTChecksums.repair(image)
            _ = try image.volumes()
        },
        layout(of: .vdi),
        layout(of: .vhd),
        Parser { _ = try QCOW2Header($0) },
        Parser { _ = try VMDKSparseHeader($0) },
        Parser { image in
            let file: any ImageFile = image
            _ = try VMDKDescriptor(file.bytes(at: 0, count: Int(min(image.size, 1 << 16))), of: image.path)
        },
    ]

    private static func layout(of format: ImageFormat) -> Parser {
        Parser { image in
            guard let known = KnownFormat.of(format), let layout = try known.layout?(image) else { return }
            _ = try known.links?(image)
            try LayoutWalk.check(layout, of: image)
        }
    }
}
