import Abstractions
import Clibvirt

#if canImport(Glibc)
    import Glibc
#endif

/// libvirt's last error as a `BackendError`, with its domain and code kept.
///
/// libvirt keeps the error by thread: this must run on the thread whose call failed, before the next call there.
func libvirtError(_ operation: String, _ what: String) -> BackendError {
    guard let error = virGetLastError()?.pointee, error.code != 0 else {
        return BackendError(.internal, operation, "\(what): libvirt gives no reason")
    }
    let text = error.message.map { String(cString: $0) } ?? ""
    let native = BackendError.NativeError(domain: "libvirt:\(error.domain)", code: Int(error.code), text: text)
    let known = LibvirtFailure(code: error.code, text: text)
    let reason = plainReason(text)
    let remedy = known.remedy.map { "; \($0)" } ?? ""
    return BackendError(
        known.code, operation, "\(what): \(reason)\(remedy)", blame: known.blame, retry: known.retry, native: native)
}

/// The reason without what libvirt and QEMU put before each line of it: who speaks, and when.
func plainReason(_ text: String) -> String {
    text.split(separator: "\n").map { line in
        var line = line
        for mark in ["qemu-system-x86_64: ", "internal error: "] {
            if let place = line.utf8.firstRange(of: mark.utf8) { line = line[place.upperBound...] }
        }
        return String(line)
    }.joined(separator: "; ")
}

/// Whether the last error on this thread has this number.
func lastLibvirtError(is code: virErrorNumber) -> Bool {
    virGetLastError().map { $0.pointee.code == Int32(bitPattern: code.rawValue) } ?? false
}

/// Whether the last lookup on this thread failed because there is no such domain, which VirtualBox's driver does not say.
func lastLookupFoundNothing(in uri: String) -> Bool {
    if lastLibvirtError(is: VIR_ERR_NO_DOMAIN) { return true }
    return LibvirtDialect.driver(of: uri) == LibvirtDialect.vbox.driver && lastErrorNamesNoCause
}

/// Whether a driver failed without a word, for which libvirt has a sentence of its own.
var lastErrorNamesNoCause: Bool { lastErrorText.contains("the cause is unknown") }

/// What the last error on this thread says.
var lastErrorText: String { virGetLastError()?.pointee.message.map { String(cString: $0) } ?? "" }

/// Asks again, for five seconds at most, while a call that answers nil meets a hypervisor that is busy for a moment. Blocks its thread.
func insisting<Value>(while isBusy: () -> Bool, _ call: () -> Value?) -> Value? {
    for _ in 0..<50 {
        if let value = call() { return value }
        guard isBusy() else { return nil }
        usleep(100_000)
    }
    return call()
}

/// What an error of libvirt means for a caller.
struct LibvirtFailure {
    var code: BackendError.Code
    var blame: BackendError.Blame?
    var retry: BackendError.Retry = .never
    var remedy: String?

    init(code number: Int32, text: String) {
        code = LibvirtFailure.codes[virErrorNumber(rawValue: UInt32(bitPattern: number))] ?? .internal
        // QEMU's own complaints all arrive as "internal error" or "operation failed"; only their text tells them apart.
        guard let hint = LibvirtFailure.hints.first(where: { text.contains($0.text) }) else { return }
        code = hint.code
        blame = hint.blame
        retry = hint.retry
        remedy = hint.remedy
    }

    private static let codes: [virErrorNumber: BackendError.Code] = [
        VIR_ERR_NO_SUPPORT: .unsupported, VIR_ERR_OPERATION_UNSUPPORTED: .unsupported,
        VIR_ERR_CONFIG_UNSUPPORTED: .unsupported, VIR_ERR_ARGUMENT_UNSUPPORTED: .unsupported,
        VIR_ERR_NO_CONNECT: .unavailable, VIR_ERR_UNKNOWN_HOST: .unavailable, VIR_ERR_RPC: .unavailable,
        VIR_ERR_INVALID_CONN: .unavailable, VIR_ERR_SYSTEM_ERROR: .unavailable,
        VIR_ERR_NO_DOMAIN: .notFound, VIR_ERR_DOM_EXIST: .alreadyExists,
        VIR_ERR_OPERATION_INVALID: .invalidState, VIR_ERR_OPERATION_TIMEOUT: .timeout,
        VIR_ERR_AGENT_UNRESPONSIVE: .timeout, VIR_ERR_RESOURCE_BUSY: .inUse,
        VIR_ERR_AUTH_FAILED: .permissionDenied, VIR_ERR_AUTH_CANCELLED: .permissionDenied,
        VIR_ERR_AUTH_UNAVAILABLE: .permissionDenied, VIR_ERR_ACCESS_DENIED: .permissionDenied,
        VIR_ERR_OPERATION_DENIED: .permissionDenied, VIR_ERR_INVALID_ARG: .invalidArgument,
    ]

    private struct Hint {
        var text: String
        var code: BackendError.Code
        var blame: BackendError.Blame?
        var retry: BackendError.Retry = .never
        var remedy: String?
    }

    private static let hints: [Hint] = [
        Hint(text: "already exists with uuid", code: .alreadyExists, blame: .caller),
        Hint(text: "No space left on device", code: .noSpace, blame: .host, remedy: "free space on the host"),
        Hint(
            text: "Failed to get", code: .inUse, blame: .host, retry: .backoff,
            remedy: "another program has the image open"),
        Hint(text: "Failed to lock byte", code: .inUse, blame: .host, retry: .backoff),
        Hint(
            text: "Failed to parse user", code: .unavailable, blame: .host,
            remedy: "libvirt wants this user to exist: useradd --system --user-group libvirt-qemu"),
        Hint(text: "Could not access KVM kernel module", code: .unavailable, blame: .host),
        Hint(text: "failed to initialize kvm", code: .unavailable, blame: .host),
        Hint(text: "is not compatible with", code: .corrupt, blame: .disk),
        Hint(text: "Image is corrupt", code: .corrupt, blame: .disk),
        Hint(text: "Image not in", code: .corrupt, blame: .disk),
        Hint(text: "unsupported VDI image", code: .unsupported, blame: .disk),
        Hint(
            text: "Cannot allocate memory", code: .unavailable, blame: .host, retry: .backoff,
            remedy: "the host has too little memory free"),
        Hint(text: "cannot set up guest memory", code: .unavailable, blame: .host, retry: .backoff),
        Hint(text: "Permission denied", code: .permissionDenied, blame: .host),
        Hint(
            text: "Failed to connect socket to", code: .unavailable, blame: .host,
            remedy: "is libvirt's daemon running there?"),
        Hint(text: "No such file or directory", code: .notFound, blame: .host),
        Hint(
            text: "unable to initialize VirtualBox driver API", code: .unavailable, blame: .host,
            remedy: "libvirt finds no VirtualBox, or one of a version that it does not know: use the backend vboxmanage"
        ),
        Hint(text: "domain is not running", code: .invalidState, blame: .caller),
    ]
}

extension virErrorNumber: @retroactive Hashable {}
