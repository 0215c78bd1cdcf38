import Abstractions
import BackendSupport
import Clibvirt
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// A picture of the first screen, in the format that libvirt has QEMU draw: PNG since libvirt 8.2, before that a portable pixmap.
struct LibvirtScreenshot: ScreenshotFacet {
    let machine: LibvirtMachine
    /// A guest chooses how large its screen is.
    private static let limit = 64 << 20

    func capture(to file: HostPath) async throws -> String {
        let operation = "screenshot.capture"
        let (machine, file) = (machine, HostFiles.absolute(file))
        return try await machine.record.call(operation) {
            try machine.connection.withDomain(operation, machine.record) { domain in
                let now = try currentState(domain, machine.record)
                guard now == .running || now == .paused else {
                    throw machine.wrongState(operation, now, "only a running or paused machine shows something")
                }
                let descriptor = open(file.string, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
                guard descriptor >= 0 else { throw hostError(operation, "cannot make \(file)") }
                defer { close(descriptor) }
                do {
                    return try LibvirtScreenshot.draw(domain, operation, descriptor, file)
                } catch {
                    unlink(file.string)
                    throw error
                }
            }
        }
    }

    private static func draw(
        _ domain: OpaquePointer, _ operation: String, _ descriptor: Int32, _ file: HostPath
    ) throws -> String {
        guard let stream = virStreamNew(virDomainGetConnect(domain), 0) else {
            throw libvirtError(operation, "no picture can be taken")
        }
        defer { virStreamFree(stream) }
        // A machine of VirtualBox that has just begun has no screen yet.
        let answer = insisting(while: { lastErrorText.contains("unable to get screen resolution") }) {
            virDomainScreenshot(domain, stream, 0, 0)
        }
        guard let kind = answer else {
            throw libvirtError(operation, "no picture can be taken")
        }
        defer { free(kind) }
        var bytes = [CChar](repeating: 0, count: 1 << 16)
        var total = 0
        while true {
            let count = virStreamRecv(stream, &bytes, bytes.count)
            guard count >= 0 else { throw libvirtError(operation, "the picture cannot be read") }
            if count == 0 { break }
            total += Int(count)
            guard total <= limit else {
                virStreamAbort(stream)
                throw BackendError(
                    .unsupported, operation, "the guest's screen takes more than \(limit >> 20) MiB", blame: .guest)
            }
            try HostFiles.writeAll(descriptor, bytes.prefix(Int(count)).map { UInt8(bitPattern: $0) }, file)
        }
        guard virStreamFinish(stream) == 0 else { throw libvirtError(operation, "the picture cannot be read") }
        return String(cString: kind)
    }
}
