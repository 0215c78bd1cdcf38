import Abstractions
import Host

extension DiskCases {
    static let backend = [
        state("backend", "info names the backend, its formats and its file systems") { context in
            let info = context.info
            try expect(!info.name.isEmpty && !info.version.isEmpty, "name or version is empty")
            try expect(
                info.formats.contains(context.fixture.format), "\(context.fixture.format) is not among the formats")
            try expect(!info.fileSystems.isEmpty, "no file systems")
        },
        state("backend", "info says the same each time, also at once") { context in
            let backend = context.backend
            try await withThrowingTaskGroup(of: DiskAccessInfo.self) { group in
                for _ in 0..<8 { group.addTask { try await backend.info() } }
                for try await info in group { try expectEqual(info, context.info, "info") }
            }
        },
        state("backend", "a presence check of a backend that works finds nothing bad") { context in
            let findings = try await context.backend.check(.presence)
            try expect(!findings.isEmpty, "no findings")
            for finding in findings {
                try expect(!finding.isObstacle, "\(finding.subject) is bad: \(finding.detail)")
                try expect(!finding.subject.isEmpty && !finding.detail.isEmpty, "a finding says nothing")
            }
        },
        state("backend", "probe likes an image that it can open, and says why") { context in
            let answer = try await context.backend.probe(try await context.image())
            try expect((1...100).contains(answer.score), "score \(answer.score): \(answer.reason)")
            try expect(!answer.reason.isEmpty, "no reason")
        },
        state("backend", "probe of a missing image answers 0 with a reason") { context in
            let image = DiskImage(path: context.folder.appending("missing"), format: context.fixture.format)
            let answer = try await context.backend.probe(image)
            try expect(answer.score == 0 && !answer.reason.isEmpty, "score \(answer.score), reason '\(answer.reason)'")
            try expect(!HostFiles.exists(image.path), "probe made the image")
        },
        state("backend", "probe of a format that it does not have answers 0 with a reason") { context in
            let image = DiskImage(path: try context.hostFile("odd", pattern(4_096)), format: "no-such-format")
            let answer = try await context.backend.probe(image)
            try expect(answer.score == 0 && !answer.reason.isEmpty, "score \(answer.score), reason '\(answer.reason)'")
        },
        state("backend", "probe does not throw for an image that is none") { context in
            _ = try await context.backend.probe(try await context.image(.garbage))
        },
        state("backend", "probe changes nothing") { context in
            let image = try await context.image()
            let before = try await context.fingerprint(image)
            _ = try await context.backend.probe(image)
            try expectEqual(try await context.fingerprint(image), before, "fingerprint")
        },
        state("backend", "open of a missing image throws notFound and makes nothing") { context in
            let image = DiskImage(path: context.folder.appending("missing"), format: context.fixture.format)
            for mode in [AccessMode.readOnly, .readWrite] where mode == .readOnly || context.has(.write) {
                try await expectError(.notFound, from: "open \(mode)") { try await context.backend.open(image, mode) }
                try expectEqual(HostFiles.names(in: context.folder), [], "files beside the image")
            }
        },
        state("backend", "open of a format that it does not have throws unsupported") { context in
            let image = DiskImage(path: try context.hostFile("odd", pattern(4_096)), format: "no-such-format")
            try await expectError(.unsupported, from: "open") { try await context.backend.open(image, .readOnly) }
        },
        state("backend", "close frees open sessions without a commit, and is idempotent", needs: [.write]) { context in
            let image = try await context.image()
            let before = try await context.sight(image)
            let other = try await context.cell.make()
            let session = try await other.open(image, .readWrite)
            let filesystem = try await firstFilesystem(session, context.info)
            try await required(filesystem.writable, "writable").makeDirectory("/never", parents: false)
            await other.close()
            await other.close()
            try await context.expectSight(image, before)
            try await context.with(image, .readWrite) { _, _ in }
        },
    ]
}
