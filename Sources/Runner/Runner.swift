import Abstractions
import Host

/// Runs recipes in disposable machines; knows backends only by what a registry says of them.
///
/// ```
/// resolve -> fetch -> prepare -> upload -> snapshot -> boot -> tasks -> download -> rollback -> release
/// ```
/// Each phase is journaled before it makes anything, has a deadline and gives events. Whatever happens, the last two run, shielded
/// from cancellation; the error of the body wins over theirs. Cancel the calling task to interrupt a run.
public struct Runner: Sendable {
    /// The backends.
    public var registry: BackendRegistry
    /// Where images come from.
    public var images: ImageSource
    /// How a disposable disk is made.
    public var overlay: OverlayMaker
    /// What holds for every run.
    public var configuration: Configuration
    /// The cache for inputs.
    public var cache: HostPath

    /// Puts a runner together.
    public init(
        registry: BackendRegistry, images: ImageSource, overlay: @escaping OverlayMaker,
        configuration: Configuration, cache: HostPath = HostEnvironment.cache
    ) {
        self.registry = registry
        self.images = images
        self.overlay = overlay
        self.configuration = configuration
        self.cache = cache
    }

    /// Runs a recipe to its end; never throws, the outcome says how it went.
    ///
    /// - Parameters:
    ///   - scope: an open scope; everything temporary goes below it, and the caller removes it.
    ///   - pool: where the machines of runs that start warm come from; without it every run starts cold.
    ///   - observer: sees each event as it happens, in order; must return at once.
    public func run(
        _ recipe: Recipe, _ options: RunOptions, in scope: RunScope, pool: WarmPool? = nil,
        observer: @escaping @Sendable (RunEvent) -> Void = { _ in }
    ) async -> RunOutcome {
        do {
            let session = try RunSession(self, recipe, options, scope, pool, observer)
            return await session.run()
        } catch {
            let known = BackendError.wrapping(error, "run")
            return RunOutcome(result: nil, exitCode: RunExit.of(known), report: nil, error: known)
        }
    }
}

/// The exit codes of `anyvisor`.
public enum RunExit {
    /// All tasks passed.
    public static let passed: Int32 = 0
    /// A task did not pass.
    public static let failed: Int32 = 1
    /// Usage, configuration or recipe.
    public static let usage: Int32 = 2
    /// Hypervisor, disk backend or host.
    public static let infrastructure: Int32 = 16
    /// Try again later.
    public static let temporary: Int32 = 75
    /// Interrupted.
    public static let interrupted: Int32 = 130

    /// The code that goes with an error.
    public static func of(_ error: BackendError) -> Int32 {
        if error.code == .cancelled { return interrupted }
        if error.code == .invalidArgument && error.blame == .caller { return usage }
        if error.retry == .backoff && error.code == .unavailable { return temporary }
        return infrastructure
    }
}
