import Abstractions

/// All cases of the hypervisor protocol.
public enum HypervisorCases {
    /// Every case, group by group.
    public static let all: [ConformanceCase<HypervisorContext>] =
        backend + create + refused + lookup + lifecycle + destroy + events + facets + snapshots + hotplug + guests
        + warm

    static func state(
        _ group: String, _ name: String, needs: [Feature] = [],
        _ run: @escaping @Sendable (HypervisorContext) async throws -> Void
    ) -> ConformanceCase<HypervisorContext> {
        ConformanceCase(group, name, needs: needs, run: run)
    }
}
