import Abstractions
import Testing

@Suite struct ErrorTests {
    @Test("the code decides whose fault it is, unless somebody says otherwise")
    func blame() {
        #expect(BackendError(.invalidArgument, "o", "m").blame == .caller)
        #expect(BackendError(.noSpace, "o", "m").blame == .host)
        #expect(BackendError(.corrupt, "o", "m").blame == .disk)
        #expect(BackendError(.crashed, "o", "m").blame == .backend)
        #expect(BackendError(.noSpace, "o", "m", blame: .disk).blame == .disk)
    }

    @Test("only failures of the backend itself fall through to the next one")
    func fallsThrough() {
        for code: BackendError.Code in [.unsupported, .unavailable, .crashed, .timeout] { #expect(code.fallsThrough) }
        for code: BackendError.Code in [.corrupt, .permissionDenied, .inUse, .notFound, .noSpace] {
            #expect(!code.fallsThrough)
        }
    }

    @Test("an error prints its native text and its causes as a tree")
    func tree() {
        let cause = BackendError(.timeout, "inner", "it hung")
        let error = BackendError(
            .unavailable, "outer", "no luck", backend: "qemu",
            native: .init(domain: "libvirt:10", code: 38, text: "busy"))
        let lines = error.caused(by: cause).description.split(separator: "\n")
        #expect(lines.count == 3)
        #expect(lines[0] == "qemu: no luck [unavailable, outer]")
        #expect(lines[1].contains("libvirt:10 38: busy"))
        #expect(lines[2].hasPrefix("  it hung"))
    }

    @Test("any error can be wrapped; a known one stays itself, a cancellation is cancelled")
    func wrapping() {
        struct Odd: Error {}
        let known = BackendError(.inUse, "o", "m")
        #expect(BackendError.wrapping(known, "x") == known)
        #expect(BackendError.wrapping(CancellationError(), "x").code == .cancelled)
        #expect(BackendError.wrapping(Odd(), "x").code == .internal)
        #expect(known.named("a").named("b").backend == "a")
    }

    @Test("refused entries are listed up to 1,000 and counted to the end")
    func refusals() {
        var report = CopyReport()
        for number in 0..<1_500 { report.refuse("\(number)", "because") }
        #expect(report.refused.count == 1_000)
        #expect(report.refusedCount == 1_500)
    }

    @Test("a suitability stays within 0 and 100")
    func suitability() {
        #expect(Suitability(score: 900, reason: "").score == 100)
        #expect(Suitability(score: -1, reason: "").score == 0)
    }
}
