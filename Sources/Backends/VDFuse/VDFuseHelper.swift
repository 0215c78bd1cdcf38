import Abstractions
import CHost

#if canImport(Glibc)
    import Glibc
#endif

/// The other roles of the plugin's program; its `main.swift` asks here first.
public enum VDFuseHelper {
    static let tether = "--tether"

    /// Becomes a FUSE server, or a program on a tether, when the command line says so; otherwise returns.
    public static func runIfAsked(_ arguments: [String] = CommandLine.arguments) {
        guard arguments.count > 1 else { return }
        let rest = Array(arguments.dropFirst(2))
        switch arguments[1] {
        case StagedServer.flag: StagedServer.run(rest)
        case MountServer.flag: MountServer.run(rest)
        case tether: runTethered(rest)
        default: return
        }
    }

    /// Becomes a program that the kernel kills when the plugin dies: `--tether PLUGIN-PID PROGRAM ARGUMENT…`.
    private static func runTethered(_ arguments: [String]) -> Never {
        av_prctl(1, UInt(SIGKILL))  // PR_SET_PDEATHSIG
        guard arguments.count >= 2, Int32(arguments[0]) == getppid() else { _exit(2) }
        var words: [UnsafeMutablePointer<CChar>?] = arguments.dropFirst().map { strdup($0) }
        words.append(nil)
        execv(arguments[1], &words)
        perror(arguments[1])
        _exit(127)
    }
}
