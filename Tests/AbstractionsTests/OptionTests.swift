import Abstractions
import Testing

@Suite struct OptionTests {
    private let declared = [
        OptionDeclaration("uri", .string, help: "where"),
        OptionDeclaration("retries", .integer, default: "3", help: "how often"),
        OptionDeclaration("force", .boolean, default: "false", help: "whether"),
        OptionDeclaration("patience", .seconds, default: "1.5", help: "how long"),
        OptionDeclaration("colour", .string, help: "which", choices: ["red", "blue"]),
    ]

    private func refusal(_ given: [String: String]) -> BackendError? {
        do {
            _ = try OptionValues(given, declared: declared)
            return nil
        } catch {
            return error as? BackendError
        }
    }

    @Test("defaults fill in what was not given")
    func defaults() throws {
        let values = try OptionValues(["uri": "x:///"], declared: declared)
        #expect(values["uri"] == "x:///")
        #expect(values.integer("retries") == 3)
        #expect(!values.flag("force"))
        #expect(values.seconds("patience") == .milliseconds(1_500))
        #expect(values["colour"] == nil)
    }

    @Test("an unknown option is refused with the nearest one, and with none when none is near")
    func didYouMean() {
        #expect(refusal(["retrys": "1"])?.code == .invalidArgument)
        #expect(refusal(["retrys": "1"])?.message.contains("did you mean 'retries'?") == true)
        #expect(refusal(["zzzzzzzz": "1"])?.message.contains("did you mean") == false)
    }

    @Test(
        "a value of the wrong type is refused, by name and with what it takes",
        arguments: [
            ("retries", "many", "a whole number"), ("force", "yes", "true or false"), ("patience", "-1", "seconds"),
            ("colour", "green", "one of red, blue"),
        ])
    func wrongType(name: String, value: String, expectation: String) {
        let message = refusal([name: value])?.message ?? ""
        #expect(message.contains("'\(name)'") && message.contains(expectation) && message.contains("'\(value)'"))
    }

    @Test("the nearest word is the one with the fewest edits")
    func nearestWord() {
        #expect(nearest(to: "qmeu", among: ["kvm", "qemu", "test"]) == "qemu")
        #expect(nearest(to: "vdfus", among: ["vdfuse", "direct"]) == "vdfuse")
        #expect(nearest(to: "xyz", among: ["libguestfs"]) == nil)
        #expect(nearest(to: "", among: []) == nil)
    }
}
