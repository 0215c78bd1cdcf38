import Abstractions
import Host

/// A disk backend under test with one image format, and what its cases share: an appliance may take ten seconds to open an image,
/// so cases that only read use one session, and cases that write without a commit use another.
actor DiskCell {
    nonisolated let make: @Sendable () async throws -> any DiskAccess
    nonisolated let backend: any DiskAccess
    nonisolated let info: DiskAccessInfo
    /// What the backend can do with images of the format: without `write` where it declares that it only reads them.
    nonisolated let features: Set<Feature>
    nonisolated let fixture: DiskFixture
    nonisolated let folder: HostPath
    private var reader: Shared?
    private var writer: Shared?
    private var counter = 0

    struct Shared: Sendable {
        let session: any DiskSession
        let filesystem: any GuestFilesystem
        let image: DiskImage
    }

    init(
        _ make: @escaping @Sendable () async throws -> any DiskAccess, _ backend: any DiskAccess, info: DiskAccessInfo,
        fixture: DiskFixture, folder: HostPath
    ) {
        self.make = make
        self.folder = folder
        self.fixture = fixture
        self.backend = backend
        self.info = info
        features = info.readOnlyFormats.contains(fixture.format) ? info.features.subtracting([.write]) : info.features
    }

    /// A session that nobody writes to.
    func reading() async throws -> Shared {
        if let reader { return reader }
        let shared = try await open(.readOnly, "reading")
        reader = shared
        return shared
    }

    /// A session for changes that are never committed.
    func changing() async throws -> Shared {
        if let writer { return writer }
        let shared = try await open(.readWrite, "changing")
        writer = shared
        return shared
    }

    private func open(_ mode: AccessMode, _ name: String) async throws -> Shared {
        counter += 1
        let image = try await fixture.make(.standard, at: folder.appending("\(name)-\(counter).\(fixture.format)"))
        let session = try await backend.open(image, mode)
        do {
            return Shared(session: session, filesystem: try await firstFilesystem(session, info), image: image)
        } catch {
            try? await session.close()
            throw error
        }
    }

    /// A case went wrong: what it shared is not to be trusted any more.
    func discard() async {
        for shared in [reader, writer].compactMap({ $0 }) {
            try? await shared.session.close()
            try? HostFiles.removeTree(shared.image.path)
        }
        reader = nil
        writer = nil
    }

    func number() -> Int {
        counter += 1
        return counter
    }
}

/// The first file system of a disk that the backend says it reads.
func firstFilesystem(_ session: any DiskSession, _ info: DiskAccessInfo) async throws -> any GuestFilesystem {
    let volumes = try await session.volumes()
    guard let volume = volumes.first(where: { info.fileSystems.contains($0.fileSystem ?? "") }) else {
        throw ConformanceFailure(
            "no volume of \(volumes.map { "\($0.id) \($0.fileSystem ?? "-")" }) has one of the file systems of info, \(info.fileSystems)"
        )
    }
    return try await session.filesystem(on: volume.id)
}
