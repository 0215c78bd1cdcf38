import Abstractions
import Host

extension DiskCases {
    static let sessions = [
        state("sessions", "features and facets agree") { context in
            let image = try await context.image()
            try await context.with(image, .readOnly) { _, filesystem in
                try expect(filesystem.writable == nil, "a read-only session has a writable facet")
                try expectEqual(filesystem.mount != nil, context.has(.mount), "a mount facet, and its feature")
            }
            guard context.has(.write) else {
                try await expectError(.unsupported, .permissionDenied, from: "open for writing") {
                    try await context.backend.open(image, .readWrite)
                }
                return
            }
            try await context.with(image, .readWrite) { _, filesystem in
                try expect(filesystem.writable != nil, "no writable facet in a session open for writing")
                try expectEqual(filesystem.mount != nil, context.has(.mount), "a mount facet, and its feature")
            }
        },
        state("sessions", "commit of a read-only session is invalidState") { context in
            let image = try await context.image()
            try await context.with(image, .readOnly) { session, _ in
                try await expectError(.invalidState, from: "commit") { try await session.commit() }
            }
        },
        state("sessions", "close is idempotent") { context in
            let image = try await context.image()
            for mode in [AccessMode.readOnly, .readWrite] where mode == .readOnly || context.has(.write) {
                let session = try await context.backend.open(image, mode)
                try await session.close()
                try await session.close()
            }
        },
        state("sessions", "a closed session throws invalidState from everything but close") { context in
            let session = try await context.backend.open(try await context.image(), .readOnly)
            let filesystem = try await firstFilesystem(session, context.info)
            try await session.close()
            try await expectError(.invalidState, from: "volumes") { try await session.volumes() }
            try await expectError(.invalidState, from: "filesystem") { try await session.filesystem(on: .whole) }
            try await expectError(.invalidState, from: "stat") { try await filesystem.stat(.root) }
            try await expectError(.invalidState, from: "list") { try await filesystem.list(.root, after: nil) }
            try await expectError(.invalidState, from: "read") {
                try await filesystem.read("/hello.txt", offset: 0, count: 1)
            }
            try await expectError(.invalidState, from: "copyOut") {
                try await filesystem.copyOut(
                    "/hello.txt", to: context.folder.appending("out"), policy: .faithful, progress: .none)
            }
        },
        state("sessions", "a closed session does not write and does not commit", needs: [.write]) { context in
            let image = try await context.image()
            let before = try await context.sight(image)
            let session = try await context.backend.open(image, .readWrite)
            let filesystem = try await firstFilesystem(session, context.info)
            let writable = try required(filesystem.writable, "writable")
            try await session.close()
            try await expectError(.invalidState, from: "makeDirectory") {
                try await writable.makeDirectory("/late", parents: false)
            }
            try await expectError(.invalidState, from: "commit") { try await session.commit() }
            try await context.expectSight(image, before)
        },
        state("sessions", "two readers run beside each other") { context in
            let image = try await context.image()
            let other = try await context.cell.make()
            defer { Task { await other.close() } }
            try await context.with(image, .readOnly) { _, first in
                try await context.with(image, .readOnly, by: other) { _, second in
                    try expectEqual(try await context.content("/hello.txt", in: first), StandardTree.hello, "first")
                    try expectEqual(try await context.content("/hello.txt", in: second), StandardTree.hello, "second")
                }
            }
        },
        state("sessions", "a second writer is inUse, from the same backend and from another", needs: [.write]) {
            context in
            let image = try await context.image()
            let other = try await context.cell.make()
            defer { Task { await other.close() } }
            try await context.with(image, .readWrite) { session, filesystem in
                try await expectError(.inUse, from: "a second writer of the same backend") {
                    try await context.backend.open(image, .readWrite)
                }
                try await expectError(.inUse, from: "a second writer of another backend") {
                    try await other.open(image, .readWrite)
                }
                // The first one is not disturbed.
                try await required(filesystem.writable, "writable").makeDirectory("/still", parents: false)
                try await session.commit()
            }
            try await context.with(image, .readOnly) { _, filesystem in
                try expect(try await context.exists("/still", in: filesystem), "the first writer's commit is lost")
            }
        },
        state("sessions", "a reader beside a writer is inUse", needs: [.write]) { context in
            let image = try await context.image()
            try await context.with(image, .readWrite) { _, _ in
                try await expectError(.inUse, from: "a reader") { try await context.backend.open(image, .readOnly) }
            }
        },
        state("sessions", "after a close the image is free for the next writer", needs: [.write]) { context in
            let image = try await context.image()
            for _ in 0..<2 { try await context.with(image, .readWrite) { _, _ in } }
            let other = try await context.cell.make()
            defer { Task { await other.close() } }
            try await context.with(image, .readWrite, by: other) { _, _ in }
        },
        state("sessions", "an open that throws does not keep the image", needs: [.write]) { context in
            let image = try await context.image(.damaged)
            for _ in 0..<2 {
                try await expectError(.corrupt, from: "a damaged image") {
                    try await context.with(image, .readWrite) { _, filesystem in try await filesystem.stat(.root) }
                }
            }
        },
        state("sessions", "a mount point shows the files while the session is open", needs: [.mount]) { context in
            let image = try await context.image()
            let point = try await context.with(image, .readOnly) { _, filesystem in
                let point = try await required(filesystem.mount, "the mount facet").mountPoint()
                try expectEqual(
                    try HostTree.read(point.appending("hello.txt")), StandardTree.hello, "hello.txt in the mount")
                return point
            }
            try expect(!HostFiles.exists(point.appending("hello.txt")), "\(point) still shows files after close")
        },
    ]
}
