/// A line by which the agent tells of its progress; see "Marks on the serial console" in the guest's README.
enum ConsoleMark: Sendable, Hashable {
    /// A warm machine waits for its job.
    case warm
    case ready
    case taskStart(id: String)
    case taskEnd(id: String, status: String, exit: Int32?)
    case done
    case error(String)

    /// Finds a mark in a line; a line without the run's token is not from the agent.
    init?(line: String, token: String) {
        let prefix = "@anyvisor:"
        guard let start = line.firstRange(of: prefix)?.upperBound else { return nil }
        let parts = line[start...].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2 else { return nil }
        let words = parts[1].split(separator: " ").map(String.init)
        if parts[0] == "-" {
            switch words.first {
            case "warm": self = .warm
            case "error": self = .error(String(parts[1].dropFirst(6)))
            default: return nil
            }
            return
        }
        guard parts[0] == token else { return nil }
        switch (words.first, words.count) {
        case ("ready", _): self = .ready
        case ("task-start", 3...): self = .taskStart(id: words[2])
        case ("task-end", 5...): self = .taskEnd(id: words[2], status: words[3], exit: Int32(words[4]))
        case ("done", _): self = .done
        case ("error", _): self = .error(String(parts[1].dropFirst(6)))
        default: return nil
        }
    }
}

/// Cuts a console's bytes into lines and finds the marks; a line is looked at up to 4 KiB.
struct MarkParser: Sendable {
    private let token: String
    private var line: [UInt8] = []

    init(token: String) { self.token = token }

    mutating func feed(_ bytes: some Sequence<UInt8>) -> [ConsoleMark] {
        var marks: [ConsoleMark] = []
        for byte in bytes {
            guard byte == 0x0a || byte == 0x0d else {
                if line.count < 4096 { line.append(byte) }
                continue
            }
            // Most lines are the kernel's: only one with an @ is worth a String.
            if line.contains(0x40), let mark = ConsoleMark(line: String(decoding: line, as: UTF8.self), token: token) {
                marks.append(mark)
            }
            line.removeAll(keepingCapacity: true)
        }
        return marks
    }
}

extension StringProtocol {
    fileprivate func firstRange(of needle: String) -> Range<Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(needle) { return start..<index(start, offsetBy: needle.count) }
            start = index(after: start)
        }
        return nil
    }
}
