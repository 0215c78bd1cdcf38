import Abstractions
import BackendSupport
import DirectBackend
import FuzzDriver

#if canImport(Glibc)
    import Glibc
#endif

/// Mutates the metadata of ext file systems for libFuzzer and uses them through `direct`.
///
/// `FUZZ_EXT_IMAGES` names the base images, in a folder where many small writes cost little; its options are those of
/// https://llvm.org/docs/LibFuzzer.html, of which `-timeout` is what one mutation may take.
@main struct FuzzExt {
    static let bases: [ExtBase] = {
        guard let folder = getenv("FUZZ_EXT_IMAGES") else { fatalError("FUZZ_EXT_IMAGES is not set") }
        return ExtBase.all(in: HostPath(String(cString: folder)))
    }()

    static func main() { fuzz { fuzzOneInput($0, $1) } }
}

/// `u8 base image and use | mutations`, see `ExtBase.Mutation`.
private func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = UnsafeRawBufferPointer(start: start, count: count)
    guard count > ExtBase.Mutation.length else { return -1 }
    let base = FuzzExt.bases[Int(input[0] & 0x7f) % FuzzExt.bases.count]
    base.restore()
    base.mutate(input.dropFirst())
    let isWriting = input[0] & 0x80 != 0
    let done = ThreadCondition()
    Task {
        await ExtUse.run(base.path, isWriting)
        done.signal()
    }
    done.wait()
    demand(base.length == base.content.count, "the image has grown to \(base.length) bytes")
    return 0
}
