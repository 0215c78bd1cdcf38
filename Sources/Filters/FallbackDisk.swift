import Abstractions

/// A chain of disk backends: when one cannot do an operation, or dies, hangs or babbles in it, the next does it again.
///
/// # Contract
/// - Only `unsupported`, `unavailable`, `crashed`, `timeout` and `protocolViolation` fall through. Damage, permissions and locks
///   are the image's own, and every backend would meet them.
/// - A session goes over to the next backend with everything that was changed in it since it was opened or committed: the changes
///   are done again, in order, on the image as it was. So **host files given to `copyIn` must stay until the commit.**
/// - A commit that is cut off is looked up in the image: it happened, or it did not and is done again. Where the image cannot
///   tell and doing it again could do harm, the error says so and nothing more is done.
/// - A backend that broke down is not used again; one that is `unsupported` for an image is asked again for the next image.
/// - Each backend has the whole time of `CallDeadline.current`, counted from its own start.
/// - `log` has every rejection.
public final class FallbackDisk: DiskAccess {
    private let chain: CandidateChain<any DiskAccess>
    private let staging: CopyStaging

    /// Chains disk backends in order of preference.
    public init(_ candidates: [Candidate<any DiskAccess>], log: FallbackLog, staging: CopyStaging) {
        chain = CandidateChain(candidates, log) { await $0.close() }
        self.staging = staging
    }

    /// See `DiskAccess`: of the first that can be had.
    public func info() async throws -> DiskAccessInfo {
        try await chain.first("disk.info") { disk, _ in try await disk.info() }.0
    }

    /// See `DiskAccess`: of the first that can be had.
    public func check(_ depth: CheckDepth) async throws -> [Finding] {
        try await chain.first("disk.check") { disk, _ in try await disk.check(depth) }.0
    }

    /// See `DiskAccess`: of the first that can open it.
    public func probe(_ image: DiskImage) async throws -> Suitability {
        var objections: [String] = []
        for (index, candidate) in chain.candidates.enumerated() {
            do {
                let answer = try await chain.backend(index).probe(image)
                if answer.score > 0 { return answer }
                objections.append("\(candidate.name): \(answer.reason)")
            } catch {
                if error is CancellationError { throw error }
                objections.append("\(candidate.name): \(BackendError.wrapping(error, "disk.probe").message)")
            }
        }
        return Suitability(score: 0, reason: objections.joined(separator: "; "))
    }

    /// See `DiskAccess`.
    public func open(_ image: DiskImage, _ mode: AccessMode) async throws -> any DiskSession {
        let (session, index) = try await chain.first("disk.open") { disk, _ in try await disk.open(image, mode) }
        return FallbackSession(chain, image, mode, staging, SessionLink(session, index: index, generation: 0))
    }

    /// See `DiskAccess`.
    public func close() async { await chain.close() }
}
