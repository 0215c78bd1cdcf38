import CExt2fs
import Host
import Testing
import VirtualDisk

@testable import DirectBackend

@Suite struct ExtBitmapsTests {
    private let folder: TestFolder

    init() throws { folder = try TestFolder() }

    @Test("a large file system with little on it has its bitmaps in trees, a small one in arrays")
    func sparseBitmapsAreTrees() async throws {
        let large = try openRaw(try await makeImage(folder, "160G", "-t ext4"))
        #expect(large.fs.pointee.default_bitmap_type == __u16(EXT2FS_BMAP64_RBTREE))
        let other = try TestFolder()
        let small = try openRaw(try await makeImage(other, "64M", "-t ext4"))
        #expect(small.fs.pointee.default_bitmap_type == __u16(EXT2FS_BMAP64_BITARRAY))
    }

    @Test("a large file system whose bitmaps are hostile does not grow into trees")
    func fragmentedBitmapsStayArrays() async throws {
        let image = try await makeImage(folder, "160G", "-t ext4 -O ^metadata_csum,^uninit_bg")
        let device = try RawDevice(image)
        do {
            let filesystem = try openRaw(image)
            let size = filesystem.blockSize
            for group in 20..<UInt32(40) {
                let place = ext2fs_block_bitmap_loc(filesystem.fs, group)
                try device.write(at: Int64(place) * Int64(size), bytes: [UInt8](repeating: 0x55, count: size))
            }
        }
        #expect(try openRaw(image).fs.pointee.default_bitmap_type == __u16(EXT2FS_BMAP64_BITARRAY))
    }

    @Test(
        "runs of set bits are counted across words",
        arguments: [([0], 0), ([1], 1), ([0b1011_0110], 3), ([1 << 63, 1], 1), ([1 << 63, 2], 2), ([.max, .max], 1)]
            as [([UInt64], Int)])
    func runsAreCounted(words: [UInt64], runs: Int) { #expect(ExtBitmaps.runs(of: words) == runs) }
}
