import Abstractions

/// The session that one backend of the chain has open, with its file systems.
actor SessionLink {
    nonisolated let index: Int
    nonisolated let generation: Int
    nonisolated let session: any DiskSession
    private var filesystems: [VolumeID: any GuestFilesystem] = [:]

    init(_ session: any DiskSession, index: Int, generation: Int) {
        self.session = session
        self.index = index
        self.generation = generation
    }

    func filesystem(_ volume: VolumeID) async throws -> any GuestFilesystem {
        if let known = filesystems[volume] { return known }
        let filesystem = try await session.filesystem(on: volume)
        filesystems[volume] = filesystem
        return filesystem
    }
}
