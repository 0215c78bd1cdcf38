import Abstractions
import Clibvirt
import Testing

@testable import LibvirtBackend

@Suite("libvirt's errors")
struct LibvirtErrorTests {
    @Test(
        "a number and its text have the code that a caller can act on",
        arguments: [
            (VIR_ERR_NO_DOMAIN, "", BackendError.Code.notFound),
            (VIR_ERR_OPERATION_INVALID, "domain is not running", .invalidState),
            (VIR_ERR_OPERATION_FAILED, "domain 'x' already exists with uuid 1", .alreadyExists),
            (VIR_ERR_INTERNAL_ERROR, "qemu: Failed to get \"write\" lock", .inUse),
            (VIR_ERR_INTERNAL_ERROR, "Could not open '/x': No such file or directory", .notFound),
            (VIR_ERR_INTERNAL_ERROR, "Could not open '/x': Permission denied", .permissionDenied),
            (VIR_ERR_INTERNAL_ERROR, "write: No space left on device", .noSpace),
            (VIR_ERR_INTERNAL_ERROR, "something new", .internal),
            (VIR_ERR_CONFIG_UNSUPPORTED, "bus", .unsupported),
            (VIR_ERR_NO_CONNECT, "", .unavailable),
        ])
    func codes(number: virErrorNumber, text: String, expected: BackendError.Code) {
        #expect(LibvirtFailure(code: Int32(number.rawValue), text: text).code == expected)
    }

    @Test("a reason is said without who said it and when")
    func reason() {
        let text = """
            internal error: qemu unexpectedly closed the monitor: 2026-11-25T01:09:03Z qemu-system-x86_64: error: no MSR
            qemu-system-x86_64: aborted
            """
        #expect(plainReason(text) == "error: no MSR; aborted")
    }
}
