import Abstractions
import Testing

@Suite struct QuantityTests {
    @Test(
        "a number of bytes is read with its unit, in powers of 1024",
        arguments: [
            ("512", 512), ("512B", 512), ("64KiB", 65_536), ("64K", 65_536), ("1.5GiB", 1_610_612_736),
            ("2 MiB", 2_097_152),
            ("0", 0), ("1T", 1_099_511_627_776),
        ] as [(String, Int64)])
    func parses(text: String, bytes: Int64) { #expect(ByteCount(parsing: text)?.bytes == bytes) }

    @Test(
        "what is no number of bytes is nil",
        arguments: ["", "MiB", "-1", "1 kB", "12XB", "1.2.3M", "99999999999G", "one", "1MiBx"])
    func refuses(text: String) { #expect(ByteCount(parsing: text) == nil) }

    @Test("a number of bytes is written in the largest unit that leaves at least 1")
    func describes() {
        #expect(ByteCount(1_023).description == "1023 B")
        #expect(ByteCount(1_536).description == "1.5 KiB")
        #expect(ByteCount.mib(3).description == "3 MiB")
        #expect(ByteCount.gib(1_024).description == "1 TiB")
    }

    @Test("milliseconds round down, seconds keep their fraction")
    func durations() {
        #expect(Duration.microseconds(1_999).milliseconds == 1)
        #expect(Duration.seconds(2).milliseconds == 2_000)
        #expect(Duration.milliseconds(250).inSeconds == 0.25)
    }

    @Test("a deadline that has passed leaves no time, and none leaves it open")
    func deadlines() {
        #expect(CallDeadline.remaining == nil)
        CallDeadline.$current.withValue(.now - .seconds(1)) { #expect(CallDeadline.remaining == .zero) }
        CallDeadline.$current.withValue(.now + .seconds(60)) {
            #expect((CallDeadline.remaining ?? .zero) > .seconds(50))
        }
    }
}
