import Abstractions
import AnyvisorKit
import FoundationEssentials
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// What a backend has shown on this host: by `anyvisor doctor --proof`, and in the conformance suite. It counts for the version that
/// showed it.
struct TrackRecord: Codable {
    /// The version that all this is about.
    var version: String
    /// Whether it did its work once, and how long that took.
    var proof: Proof?
    /// How many cases of the conformance suite held.
    var suite: Suite?

    /// One proof.
    struct Proof: Codable {
        var works: Bool
        var milliseconds: Int64
        /// Since 1970.
        var seconds: Int64
    }

    /// One run of the whole suite.
    struct Suite: Codable {
        var passed: Int
        var failed: Int
        /// Since 1970.
        var seconds: Int64
    }

    private static func file(_ descriptor: BackendDescriptor) -> HostPath {
        HostEnvironment.cache.appending("records").appending("\(descriptor.kind.rawValue)-\(descriptor.name).json")
    }

    /// What the version that is here now has shown; nil when that is nothing.
    static func of(_ descriptor: BackendDescriptor, version: String) -> TrackRecord? {
        guard let bytes = try? HostFiles.read(file(descriptor), limit: 1 << 20),
            let record = try? JSONDecoder().decode(TrackRecord.self, from: Data(bytes)), record.version == version
        else { return nil }
        return record
    }

    /// Adds to what the version that is here now has shown; without a cache folder to write to, nothing is kept.
    static func note(
        _ descriptor: BackendDescriptor, _ catalogue: Catalogue, _ change: (inout TrackRecord) -> Void
    ) async {
        guard let version = try? await catalogue.version(of: descriptor) else { return }
        var record = of(descriptor, version: version) ?? TrackRecord(version: version)
        change(&record)
        try? HostFiles.makeDirectories(file(descriptor).parent)
        if let bytes = try? JSONEncoder().encode(record) { try? HostFiles.write(Array(bytes), to: file(descriptor)) }
    }

    /// Seconds since 1970.
    static var now: Int64 { Int64(time(nil)) }
}

extension Catalogue {
    /// What a backend says of its version.
    ///
    /// - Throws: why it cannot be asked.
    func version(of descriptor: BackendDescriptor) async throws -> String {
        switch descriptor.kind {
        case .hypervisor:
            let backend = try await hypervisor(descriptor.name)
            let info = await Result { try await backend.info() }
            await backend.close()
            return try info.get().version
        case .disk:
            let backend = try await disk(descriptor.name)
            let info = await Result { try await backend.info() }
            await backend.close()
            return try info.get().version
        }
    }
}

extension Result where Failure == any Error {
    fileprivate init(_ body: () async throws -> Success) async {
        do { self = .success(try await body()) } catch { self = .failure(error) }
    }
}
