import Abstractions
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// The facets of a `MemoryMachine` but for its snapshots.
struct MemoryFacets: ConsoleFacet, PauseFacet, DiskHotplugFacet, ScreenshotFacet, StatisticsFacet {
    let machine: MemoryMachine

    func read(offset: Int64, count: Int) async throws -> [UInt8] {
        try await machine.readConsole(offset, count)
    }

    func pause() async throws { try await machine.hold() }
    func resume() async throws { try await machine.goOn() }
    func attach(_ disk: DiskAttachment) async throws { try await machine.attach(disk) }
    func detach(_ image: DiskImage) async throws { try await machine.detach(image) }
    func capture(to file: HostPath) async throws -> String { try await machine.capture(file) }
    func sample() async throws -> MachineStatistics { try await machine.sample() }
}

extension MemoryMachine {
    fileprivate func readConsole(_ offset: Int64, _ count: Int) throws -> [UInt8] {
        try checkThere("console.read")
        return try consoleFile.read(offset: fault == .consoleIgnoresOffset ? min(offset, 0) : offset, count: count)
    }

    fileprivate func hold() throws {
        try checkThere("pause.pause")
        if now == .paused { return }
        guard now == .running || fault == .pauseStoppedAllowed else {
            throw illegal("pause.pause", "can be paused only when it runs")
        }
        guest?.hold()
        become(.paused)
    }

    fileprivate func goOn() throws {
        try checkThere("pause.resume")
        if now == .running { return }
        guard now == .paused else { throw illegal("pause.resume", "can be resumed only when it is paused") }
        guest?.goOn()
        become(.running)
    }

    fileprivate func attach(_ disk: DiskAttachment) throws {
        try checkThere("disks.attach")
        guard now == .running || now == .paused else { throw illegal("disks.attach", "must run to get a disk") }
        guard !attached.contains(where: { $0.image.path == disk.image.path }) else {
            throw BackendError(
                .alreadyExists, "disks.attach", "machine '\(id)' has \(disk.image.path) already", blame: .caller)
        }
        guard HostFiles.exists(disk.image.path) else {
            throw BackendError(.notFound, "disks.attach", "\(disk.image.path) does not exist", blame: .caller)
        }
        attached.append(disk)
    }

    fileprivate func detach(_ image: DiskImage) throws {
        try checkThere("disks.detach")
        guard attached.contains(where: { $0.image.path == image.path }) || fault == .detachUnknownSilent else {
            throw BackendError(.notFound, "disks.detach", "machine '\(id)' has no disk \(image.path)", blame: .caller)
        }
        attached.removeAll { $0.image.path == image.path }
    }

    /// One black pixel as a PPM picture.
    fileprivate func capture(_ file: HostPath) throws -> String {
        try checkThere("screenshot.capture")
        guard now == .running || now == .paused else { throw illegal("screenshot.capture", "shows nothing") }
        let flags = O_WRONLY | O_CREAT | O_CLOEXEC | (fault == .screenshotOverwrites ? O_TRUNC : O_EXCL)
        let descriptor = open(file.string, flags, 0o644)
        guard descriptor >= 0 else { throw hostError("screenshot.capture", "cannot make \(file)") }
        defer { close(descriptor) }
        try HostFiles.writeAll(descriptor, Array("P6\n1 1\n255\n".utf8) + [0, 0, 0], file)
        return "image/x-portable-pixmap"
    }

    fileprivate func sample() throws -> MachineStatistics {
        try checkThere("statistics.sample")
        return MachineStatistics(
            cpuNanoseconds: guest?.cpuNanoseconds, memory: now == .running || now == .paused ? spec.memory : nil)
    }
}
