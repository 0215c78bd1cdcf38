import Abstractions
import Host

/// Does the real thing once: makes an image, writes a file into it, and reads it back from a second session.
enum DirectProof {
    static func run(_ access: DirectDiskAccess) async -> Finding {
        do {
            let folder = try RunScope.makeProcessFolder("direct-proof")
            defer { try? HostFiles.removeTree(folder) }
            let image = DiskImage(path: folder.appending("disk.raw"), format: .raw)
            _ = try await Tool.check("mke2fs", ["-q", "-t", "ext4", image.path.string, "8M"])
            let content = Array("what went in comes out\n".utf8)
            try HostFiles.write(content, to: folder.appending("file"))
            let writing = try await access.open(image, .readWrite)
            _ = try await writing.filesystem(on: .whole).writable?.copyIn(
                folder.appending("file"), to: "/proof", options: CopyInOptions(), progress: .none)
            try await writing.commit()
            try await writing.close()
            let reading = try await access.open(image, .readOnly)
            let back = try await reading.filesystem(on: .whole).read("/proof", offset: 0, count: 1000)
            try await reading.close()
            guard back == content else { return Finding("proof", .bad, "a file came back changed") }
            let check = try await Tool.run("e2fsck", ["-fn", image.path.string])
            guard check.exit == .exited(0) else { return Finding("proof", .bad, "e2fsck found a fault: \(check.text)") }
            return Finding("proof", .good, "wrote a file into an image and read it back; e2fsck is content")
        } catch {
            return Finding("proof", .bad, "\(BackendError.wrapping(error, "disk.check"))")
        }
    }
}
