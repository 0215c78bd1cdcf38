import Abstractions
import AnyvisorKit
import FoundationEssentials
import Host
import Testing

/// Images that VirtualBox wrote, through the library; `scripts/fixtures.sh` reads them by every command and backend.
@Suite struct FixtureTests {
    struct Manifest: Decodable {
        struct Image: Decodable {
            var file: String
            var raw_sha256: String?
            var raw_bytes: Int64?
        }
        var images: [Image]
    }

    @Test func `every image that VirtualBox wrote reads through the library as its manifest says`() async throws {
        let fixtures = KitBench.repository.appending("Tests/Fixtures/images")
        let manifest = try JSONDecoder().decode(
            Manifest.self, from: Data(HostFiles.read(fixtures.appending("manifest.json"))))
        try await KitBench.with { bench in
            for image in manifest.images {
                let packed = fixtures.appending(image.file + ".xz")
                let bytes = try await Tool.check("xz", ["-dc", packed.string]).output
                try HostFiles.write(bytes, to: bench.folder.appending(image.file))
            }
            var read = 0
            for image in manifest.images {
                guard let sum = image.raw_sha256 else { continue }
                let disk = DiskOperations(bench.folder.appending(image.file).string, state: bench.state.string)
                let raw = bench.folder.appending(image.file + ".raw")
                let (size, leftover) = try await disk.export(to: raw.string)
                #expect(size == image.raw_bytes && leftover == nil, "\(image.file)")
                let found = try await Tool.check("sha256sum", ["-b", raw.string]).text.prefix(64)
                #expect(found == sum, "\(image.file)")
                let out = bench.folder.appending(image.file + ".base")
                try await disk.download("/base.txt", to: out.string)
                #expect(try HostFiles.readText(out) == "only in the base layer\n", "\(image.file)")
                read += 1
            }
            #expect(read == 10)
        }
    }
}
