import Abstractions
import Host

/// What VBoxManage said when it failed.
///
/// ```
/// VBoxManage: error: Could not find a registered machine named 'x'
/// VBoxManage: error: Details: code VBOX_E_OBJECT_NOT_FOUND (0x80bb0001), component VirtualBoxWrap, interface IVirtualBox
/// VBoxManage: error: Context: "FindMachine(…)" at line 3248 of file VBoxManageInfo.cpp
/// ```
/// Where the kernel module is missing, a warning of five lines stands above.
struct VBoxManageFailure: Sendable, Hashable {
    /// The sentences of the error, without what is for VirtualBox's makers.
    let reason: String
    /// The error's name, for example `VBOX_E_OBJECT_NOT_FOUND`; nil when none is given.
    let name: String?
    /// The error's number.
    let number: Int

    init(_ text: String, _ exit: ProcessExit) {
        let mark = "VBoxManage: error: "
        let said = text.split(separator: "\n").filter { $0.hasPrefix(mark) }.map { $0.dropFirst(mark.count) }
        let plain = said.filter { line in
            !["Details: code ", "Context: ", "Invalid UUID or filename "].contains { line.hasPrefix($0) }
        }
        let sentences = plain.isEmpty ? said : plain
        reason = sentences.isEmpty ? "it ended with \(exit) and gave no reason" : sentences.joined(separator: "; ")
        let words = said.first { $0.hasPrefix("Details: code ") }?.split(separator: " ") ?? []
        name = words.count > 2 ? String(words[2]) : nil
        let digits = words.count > 3 ? words[3].drop { $0 != "x" }.dropFirst().prefix { $0.isHexDigit } : ""
        number = Int(digits, radix: 16) ?? 0
    }

    /// The error for a command of VBoxManage.
    func error(_ operation: String, _ command: String) -> BackendError {
        let hint = VBoxManageFailure.hints.first { hint in hint.texts.contains { reason.contains($0) } }
        let known = name.flatMap { VBoxManageFailure.codes[$0] } ?? .internal
        let code = hint?.code ?? known
        let remedy = hint?.remedy.map { "; \($0)" } ?? ""
        return BackendError(
            code, operation, "VBoxManage \(command): \(reason)\(remedy)", blame: hint?.blame,
            retry: hint?.retry ?? .never,
            native: .init(domain: "virtualbox", code: number, text: name.map { "\($0): \(reason)" } ?? reason))
    }

    /// VirtualBox.xidl, "COM result codes used by VirtualBox"; the others are Mozilla's and Microsoft's.
    private static let codes: [String: BackendError.Code] = [
        "VBOX_E_OBJECT_NOT_FOUND": .notFound, "VBOX_E_INVALID_VM_STATE": .invalidState,
        "VBOX_E_INVALID_SESSION_STATE": .invalidState, "VBOX_E_OBJECT_IN_USE": .inUse,
        "VBOX_E_INVALID_OBJECT_STATE": .inUse, "VBOX_E_NOT_SUPPORTED": .unsupported, "VBOX_E_TIMEOUT": .timeout,
        "VBOX_E_HOST_ERROR": .unavailable, "NS_ERROR_INVALID_ARG": .invalidArgument,
        "E_ACCESSDENIED": .permissionDenied,
        "NS_ERROR_CALL_FAILED": .unavailable, "NS_ERROR_ABORT": .unavailable, "NS_ERROR_NOT_AVAILABLE": .unavailable,
    ]

    private struct Hint {
        var texts: [String]
        var code: BackendError.Code
        var blame: BackendError.Blame?
        var retry: BackendError.Retry = .never
        var remedy: String?
    }

    /// One number stands for many things; only the text tells them apart.
    private static let hints: [Hint] = [
        Hint(
            texts: [
                "VERR_VM_DRIVER_NOT_INSTALLED", "VERR_VM_DRIVER_LOAD_ERROR", "VERR_VM_DRIVER_NOT_ACCESSIBLE",
                "rc=-1908",
            ],
            code: .unavailable, blame: .host,
            remedy: "load VirtualBox's kernel module: `modprobe vboxdrv`, after installing virtualbox-dkms"),
        Hint(
            texts: ["VERR_VM_DRIVER_VERSION_MISMATCH"], code: .unavailable, blame: .host,
            remedy: "the kernel module is of another VirtualBox; load the right one"),
        Hint(
            texts: ["VERR_VMX_IN_VMX_ROOT_MODE", "VERR_SVM_IN_USE"], code: .inUse, blame: .host,
            remedy: "another hypervisor, usually KVM, has the processor's virtualization; stop its machines"),
        Hint(
            texts: ["VERR_VMX_NO_VMX", "VERR_SVM_NO_SVM", "VERR_VMX_MSR_ALL_VMX_DISABLED"], code: .unavailable,
            blame: .host,
            remedy: "switch the processor's virtualization on in the firmware"),
        Hint(
            texts: [
                // A question about a machine or medium that ends in that moment.
                "The object is not ready", "The session is not locked", "object from the direct session",
                "is already locked by a session", "while it is locked", "is locked for", "already has a lock request",
            ],
            code: .inUse, retry: .backoff),
        Hint(
            texts: ["Failed to create the VirtualBox object"], code: .unavailable, blame: .host, retry: .backoff,
            remedy: "VirtualBox's service, VBoxSVC, has died or does not start; try again"),
        Hint(
            texts: ["Code NS_ERROR_ABORT", "Code NS_ERROR_CALL_FAILED"], code: .unavailable, blame: .host,
            remedy: "VirtualBox's service, VBoxSVC, has died; try again"),
        Hint(texts: ["is not currently running"], code: .invalidState, blame: .caller),
        Hint(
            texts: ["because a hard disk"], code: .inUse, blame: .disk,
            remedy:
                "it is a copy of that disk with the same uuid; `VBoxManage internalcommands sethduuid` gives it another"
        ),
        Hint(
            texts: ["VERR_DISK_FULL", "DrvVD_DISKFULL"], code: .noSpace, blame: .host, remedy: "free space on the host"),
        Hint(
            texts: ["VERR_NO_MEMORY"], code: .unavailable, blame: .host, remedy: "the host has too little memory free"),
        Hint(texts: ["VERR_ACCESS_DENIED", "VERR_WRITE_PROTECT"], code: .permissionDenied, blame: .host),
        Hint(texts: ["VERR_FILE_NOT_FOUND", "VERR_PATH_NOT_FOUND"], code: .notFound, blame: .host),
        Hint(texts: ["VERR_ALREADY_EXISTS", "already exists"], code: .alreadyExists, blame: .caller),
        Hint(texts: ["Could not open the medium", "Could not get the storage format"], code: .corrupt, blame: .disk),
        Hint(texts: ["more than one child"], code: .unsupported, remedy: "delete its children first"),
    ]
}
