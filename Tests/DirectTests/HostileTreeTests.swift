import Abstractions
import Host
import Testing

@testable import BackendSupport
@testable import DirectBackend

/// Copies out what a hostile guest may leave behind.
@Suite struct HostileTreeTests {
    private let folder: TestFolder
    private let limits = CopyLimits(bytes: .mib(8), files: 100, depth: 64)

    init() throws { folder = try TestFolder() }

    private func copy(
        _ filesystem: ExtFilesystem, _ path: GuestPath, policy: CopyPolicy, to name: String = "out"
    ) throws -> CopyReport {
        try filesystem.copyOut(
            path, to: folder.file(name), policy: policy, progress: .none, cancellation: CancellationFlag())
    }

    @Test func linksNodesPipesAndAHugeSparseFileAreRefusedAndTheRestComes() async throws {
        let image = try await makeImage(folder, "64M")
        let secret = folder.file("secret")
        _ = try await shell(
            """
            set -e; cd \(folder.path); echo fine > fine; echo outside > \(secret); printf x > huge
            debugfs -w -f - \(image) <<END
            mkdir /r
            cd /r
            symlink escape \(secret)
            symlink up ../../../../etc
            mknod pipe p
            mknod disk b 8 0
            mknod tty c 5 0
            write fine fine
            write fine setuid
            set_inode_field setuid mode 0104755
            write huge huge
            set_inode_field huge size 1099511627776
            END
            """)
        let report = try copy(try openRaw(image), "/r", policy: .untrusted(limits))
        let reasons = Dictionary(report.refused.map { ($0.path, $0.reason) }) { first, _ in first }
        #expect(
            reasons == [
                "escape": "symbolic link", "up": "symbolic link", "pipe": "pipe", "disk": "block device",
                "tty": "character device", "huge": "larger than the quota left",
            ])
        #expect(report.files == 2)
        #expect(
            try await shell("cd \(folder.path)/out; stat -c '%n %a %F' *") == """
                fine 644 regular file
                setuid 755 regular file

                """)
    }

    @Test func aNameWithASlashAndAFolderInItselfAreRefused() async throws {
        // Without checksums, so that the names can be forged.
        let image = try await makeImage(folder, "16M", "-t ext4 -O ^metadata_csum")
        _ = try await shell(
            """
            set -e; cd \(folder.path); echo fine > fine
            debugfs -w -f - \(image) <<END
            mkdir /r
            mkdir /r/inner
            write fine /r/XXXXXXXXXX
            link /r /r/inner/again
            END
            LC_ALL=C sed -i 's#XXXXXXXXXX#../../../e#' \(image)
            """)
        let report = try copy(try openRaw(image), "/r", policy: .faithful)
        #expect(
            report.refused == [
                RefusedEntry(path: "../../../e", reason: "a name that a folder cannot hold"),
                RefusedEntry(path: "inner/again", reason: "a folder that has two names"),
            ])
        #expect(try await shell("cd \(folder.path)/out; find .") == ".\n./inner\n")
    }

    @Test func aTreeOfTwoThousandLevelsIsCopiedFaithfullyAndCutAtTheQuotasDepth() async throws {
        let image = try await makeImage(folder, "64M", "-t ext4 -N 8192")
        _ = try await shell(
            """
            cd \(folder.path); python3 -c '
            import os
            for level in range(2001):
                os.mkdir("deep" if level == 0 else "a-long-name-for-a-folder")
                os.chdir("deep" if level == 0 else "a-long-name-for-a-folder")
            '
            """)
        let filesystem = try openRaw(image)
        _ = try filesystem.copyIn(
            folder.file("deep"), to: "/deep", options: CopyInOptions(), progress: .none,
            cancellation: CancellationFlag())
        try filesystem.flush()
        try await fsck(image)
        let report = try copy(try openRaw(image), "/deep", policy: .untrusted(limits))
        #expect(report.refused.map(\.reason) == ["deeper than 64 folders"])
        _ = try copy(try openRaw(image), "/deep", policy: .faithful, to: "all")
        #expect(try await shell("find \(folder.path)/all -type d | wc -l") == shell("find \(folder.path)/deep | wc -l"))
    }

    @Test func aCopyThatFailsLeavesNothingBehind() async throws {
        let image = try await makeImage(folder, "16M")
        _ = try await shell("head -c 3000000 /dev/urandom > \(folder.path)/f")
        let filesystem = try openRaw(image)
        _ = try filesystem.copyIn(
            folder.file("f"), to: "/f", options: CopyInOptions(), progress: .none, cancellation: CancellationFlag())
        let flag = CancellationFlag()
        flag.cancel()
        let before = HostFiles.names(in: folder.path)
        #expect(throws: CancellationError.self) {
            try filesystem.copyOut(
                "/f", to: folder.file("out"), policy: .faithful, progress: .none, cancellation: flag)
        }
        #expect(HostFiles.names(in: folder.path) == before)
        let error = #expect(throws: BackendError.self) { try copy(filesystem, "/f", policy: .faithful, to: "f") }
        #expect(error?.code == .alreadyExists)
    }

    @Test func manyLongRefusedNamesStillMakeAShortReport() throws {
        var ledger = CopyLedger(policy: .untrusted(limits), progress: .none, totalBytes: nil)
        for number in 0..<20_000 { ledger.refuse([String(repeating: "\u{1}", count: 250), "\(number)"], "pipe") }
        let report = ledger.finish()
        #expect(report.refusedCount == 20_000)
        #expect(report.refused.reduce(0) { $0 + $1.path.utf8.count * 6 } < 512 << 10)
    }
}
