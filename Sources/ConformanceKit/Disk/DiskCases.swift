import Abstractions

/// All cases of the disk protocol.
public enum DiskCases {
    /// Every case, group by group.
    public static let all: [ConformanceCase<DiskContext>] =
        backend + images + volumes + reading + listing + copyOut + untrusted + sessions + copyIn + changes + commits
        + hostile

    static func state(
        _ group: String, _ name: String, needs: [Feature] = [],
        _ run: @escaping @Sendable (DiskContext) async throws -> Void
    ) -> ConformanceCase<DiskContext> {
        ConformanceCase(group, name, needs: needs, run: run)
    }
}
