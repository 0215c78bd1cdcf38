import Abstractions
import FoundationEssentials
import Host

#if canImport(Glibc)
    import Glibc
#endif

/// Standard output is data, standard error is talk.
enum Terminal {
    /// Writes a line to standard error.
    static func talk(_ line: String) { write(2, line + "\n") }

    /// Writes a line to standard output.
    static func say(_ line: String) { write(1, line + "\n") }

    /// Writes bytes to standard output as they are.
    ///
    /// - Throws: what the host says, for example that the reader is gone.
    static func data(_ bytes: [UInt8]) throws { try HostFiles.writeAll(1, bytes, "standard output") }

    /// Replaces the line on standard error where the cursor stands; for a terminal only.
    static func overwrite(_ text: String) { write(2, "\r\u{1b}[K" + text) }

    /// Whether a person looks at this descriptor.
    static func isTerminal(_ descriptor: Int32) -> Bool { isatty(descriptor) == 1 }

    /// Whether colours may be used on standard error.
    static var hasColour: Bool {
        isTerminal(2) && HostEnvironment.variable("NO_COLOR") == nil && HostEnvironment.variable("TERM") != "dumb"
    }

    /// Ends the program.
    static func end(with status: Int32) -> Never { exit(status) }

    /// Writes a value as JSON with sorted keys, for `--json`.
    static func json(_ value: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        say(String(decoding: try encoder.encode(value), as: UTF8.self))
    }

    /// Writes rows in columns; the first row is the head.
    static func table(_ rows: [[String]]) {
        guard let columns = rows.map(\.count).max() else { return }
        let widths = (0..<columns).map { column in
            rows.map { $0.count > column ? printable($0[column]).count : 0 }.max() ?? 0
        }
        for row in rows {
            let cells = row.enumerated().map { index, cell in
                let text = printable(cell)
                return index == row.count - 1 ? text : text + String(repeating: " ", count: widths[index] - text.count)
            }
            say(cells.joined(separator: "  "))
        }
    }

    /// The text with control characters shown as `\xNN`: names from an image must not steer the terminal.
    static func printable(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            if scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value) {
                result += "\\x" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16)
            } else if (0x10FF80...0x10FFFF).contains(scalar.value) {
                result += "\\x" + String(scalar.value - 0x10FF00, radix: 16)
            } else {
                result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    private static func write(_ descriptor: Int32, _ text: String) {
        try? HostFiles.writeAll(descriptor, Array(text.utf8), "standard stream")
    }
}
