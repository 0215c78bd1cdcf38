import Abstractions
import Host
import Testing

@testable import BackendSupport
@testable import DirectBackend

/// Damage that the fuzzer has found a way with.
@Suite struct DamagedMetadataTests {
    private let folder: TestFolder

    init() throws { folder = try TestFolder() }

    @Test func aTimeThatNanosecondsCannotHoldIsBroughtToItsEnd() async throws {
        let image = try await makeImage(folder, "16M", "-t ext4 -I 256")
        _ = try await shell(
            """
            cd \(folder.path); echo x > far; debugfs -w -f - \(image) <<END
            write far far
            set_inode_field far mtime 0x7fffffff
            set_inode_field far mtime_extra 3
            END
            """)
        #expect(
            try openRaw(image).page("/", after: nil).entries.first { $0.name == "far" }?.stat.modifiedNanoseconds
                == .max)
    }

    @Test func aFolderWithASlashInANameIsDamaged() async throws {
        let image = try await makeImage(folder, "16M", "-t ext4 -O ^metadata_csum,^has_journal")
        _ = try await shell(
            """
            cd \(folder.path); echo x > f; debugfs -w -R 'write f name-XYZ-name' \(image)
            perl -pi -e 's/name-XYZ-name/name-X\\/Z-name/' \(image)
            """)
        let error = #expect(throws: BackendError.self) { try openRaw(image).page("/", after: nil) }
        #expect(error?.code == .corrupt)
        #expect(error?.message.contains("a name that cannot be") == true)
    }
}
