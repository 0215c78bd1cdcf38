import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Images of QEMU's formats as disks of ours, with the same transactions: a commit's log holds the disk's content, and is applied
/// through QEMU too.
enum ForeignImage {
    /// Opens an image whose path is resolved.
    ///
    /// - Throws: as `VirtualDisk.open`; `unavailable` without QEMU's tools or libnbd.
    static func open(_ image: DiskImage, _ mode: AccessMode) throws -> VirtualDisk {
        switch mode {
        case .readWrite: return try VirtualDisk(image, mode, openForWriting(image).file)
        case .readOnly: return try VirtualDisk(image, mode, openForReading(image))
        }
    }

    /// Brings an image to the state of its last commit; starts QEMU only when there is something to do.
    ///
    /// - Returns: whether a redo log was applied.
    static func recover(_ image: DiskImage) throws -> Bool {
        guard VirtualDisk.hasLeftovers(image) else { return false }
        return try openForWriting(image).applied
    }

    private static func openForWriting(_ image: DiskImage) throws -> (file: any ImageFile, applied: Bool) {
        let path = image.path
        let lock = try PosixFile(path, O_RDWR)
        try checkFolder(of: path)
        try ImageLock.takeBesideQEMU(lock, .readWrite)
        let plan = try ForeignPlan.make(image)
        try ImageLock.refuseVirtualBox([path] + plan.parts, .readWrite)
        try ImageLock.refuseVirtualBox(plan.everyFile, .readOnly)
        if let objection = plan.objection {
            throw BackendError(
                .unsupported, "disk.open",
                "\(path) can only be read: \(objection); `anyvisor disk export` and `import` make a copy that can be written",
                blame: .caller)
        }
        if VirtualDisk.hasLeftovers(image) { try ForeignTool.repairLeaks(plan) }
        let file = try open(plan, .readWrite, lock)
        return (file, try RedoLog.recover(file))
    }

    private static func openForReading(_ image: DiskImage) throws -> any ImageFile {
        let path = image.path
        if image.forceStale == true { return try openStale(image) }
        // What a dead writer left is put in order by the first who comes, where that is allowed.
        if VirtualDisk.hasLeftovers(image), let writable = try? openForWriting(image) {
            withExtendedLifetime(writable) {}
        }
        let lock = try PosixFile(path, O_RDONLY)
        try ImageLock.takeBesideQEMU(lock, .readOnly)
        let plan = try ForeignPlan.make(image)
        if KnownFormat.of(image.format)?.isVirtualBox == true {
            try ImageLock.refuseVirtualBox(plan.everyFile, .readOnly)
        }
        return try committed(open(plan, .readOnly, lock))
    }

    /// Opens what is there without a lock, beside whoever writes to it.
    private static func openStale(_ image: DiskImage) throws -> any ImageFile {
        try committed(open(ForeignPlan.make(image).unlocked, .readOnly, nil))
    }

    private static func committed(_ file: any ImageFile) throws -> any ImageFile {
        guard let (log, contents) = try RedoLog.find(for: file) else { return file }
        return PatchedFile(file, log, contents)
    }

    /// Opens a layer and those below it.
    private static func open(_ plan: ForeignPlan, _ mode: AccessMode, _ lock: PosixFile?) throws -> any ImageFile {
        for suspect in plan.suspects { try ForeignTool.check(suspect) }
        guard let lock else {
            let top = try ForeignFile(plan, mode, locks: [])
            guard let below = plan.below.first else { return top }
            return try LayeredFile(top, over: open(below, .readOnly, nil), grain: plan.grain)
        }
        // The parts of an image are written with it; what lies below is only read.
        let parts = try plan.parts.map { try locked($0, mode) }
        let others = try plan.files.dropFirst().filter { !plan.parts.contains($0) }.map { try locked($0, .readOnly) }
        let top = try ForeignFile(plan, mode, locks: [lock] + parts + others)
        guard let below = plan.below.first else { return top }
        let parent = try open(below, .readOnly, locked(below.path, .readOnly))
        return try LayeredFile(top, over: parent, grain: plan.grain)
    }

    private static func locked(_ path: HostPath, _ mode: AccessMode) throws -> PosixFile {
        let file = try PosixFile(path, mode == .readWrite ? O_RDWR : O_RDONLY)
        try ImageLock.takeBesideQEMU(file, mode)
        return file
    }

    private static func checkFolder(of path: HostPath) throws {
        guard access(path.parent.string, W_OK) == 0 else {
            throw BackendError(
                .permissionDenied, "disk.open",
                "the folder of \(path) cannot be written, and a commit puts its redo log beside the image; "
                    + "make the folder writable or copy the image elsewhere", blame: .host)
        }
    }
}
