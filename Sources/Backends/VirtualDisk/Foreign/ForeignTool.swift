import Abstractions
import BackendSupport
import Host

/// Runs of `qemu-img` on an image that nobody has open.
enum ForeignTool {
    /// Whether a crash can leave clusters that are counted, but not used, and can be given back.
    static func losesClusters(_ plan: ForeignPlan) -> Bool { plan.node.driver == "qcow2" }

    /// Gives back clusters that a crash has lost; formats that lose none are left alone.
    ///
    /// - Throws: `corrupt` when more is wrong than lost clusters.
    static func repairLeaks(_ plan: ForeignPlan) throws {
        guard losesClusters(plan) else { return }
        var alone = plan.node
        alone.backing = []
        try run(["check", "-q", "-r", "leaks", "json:" + alone.json(readOnly: false)], on: plan.path)
    }

    /// Looks through all tables of a layer; clusters that are lost are no harm.
    ///
    /// - Throws: `corrupt`.
    static func check(_ node: QEMUNode) throws {
        var alone = node
        alone.backing = []
        let exit = try run(["check", "-q", "json:" + alone.json(readOnly: true)], on: node.file, accepting: [0, 3, 2])
        if exit == 2 {
            throw BackendError(
                .corrupt, "disk.open",
                "\(node.file) is damaged or cut off: its tables name clusters behind its end; "
                    + "`qemu-img check` lists them", blame: .disk)
        }
    }

    /// Makes an empty qcow2 image, over a parent that is not opened for it.
    static func makeQCOW2(_ path: HostPath, size: Int64, parent: DiskImage?) throws {
        // A parent in the same folder is named without it, so that the two can be moved together.
        let name = parent.map { $0.path.parent == path.parent ? $0.path.name : $0.path.string }
        let backing = parent.flatMap { parent in name.map { ["-u", "-F", driver(parent.format), "-b", $0] } } ?? []
        try run(["create", "-q", "-f", "qcow2"] + backing + [path.string, "\(size)"], on: path)
    }

    /// The format by QEMU's name for it.
    static func format(_ driver: String) -> ImageFormat { driver == "vpc" ? .vhd : ImageFormat(driver) }

    /// QEMU's name for a format.
    static func driver(_ format: ImageFormat) -> String { format == .vhd ? "vpc" : format.rawValue }

    @discardableResult
    private static func run(_ arguments: [String], on path: HostPath, accepting: [Int32] = [0]) throws -> Int32 {
        let program = try ForeignServer.program("qemu-img", package: "qemu-utils")
        let tether = try ForeignServer.program("setpriv", package: "util-linux")
        let process = try TetheredProcess(
            "qemu-img", tether, ["--pdeathsig", "KILL", program.string] + arguments, operation: "disk.qemu-img")
        guard process.waitForEnd(.seconds(600)) else {
            process.kill()
            throw BackendError(.timeout, "disk.qemu-img", "qemu-img does not come to an end with \(path)")
        }
        guard case .exited(let status) = process.exit, accepting.contains(status) else {
            throw ForeignServer.refusal(process.errors, path)
        }
        return status
    }
}
