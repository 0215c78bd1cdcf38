import Abstractions
import Host
import Testing

@Suite struct JournalTests {
    private let records: [Journal.Record] = [
        .phase("upload"), .path("/tmp/a \"quoted\" path\\with\nall"), .process("run-1"),
        .domain(uri: "qemu:///embed?root=/x", name: "anyvisor-r-1"), .mount("/mnt"),
        .redo(DiskImage(path: "/disk.vdi", format: .vdi)),
    ]

    @Test("what is written is read again, whatever its text")
    func roundTrip() async throws {
        try await withFolder { folder in
            let journal = Journal(folder.appending("journal"))
            for record in records { try journal.append(record) }
            #expect(try journal.records() == records)
        }
    }

    @Test("a torn last line is left out, and so is a line that is no record")
    func tornLine() async throws {
        try await withFolder { folder in
            let file = folder.appending("journal")
            let journal = Journal(file)
            for record in records { try journal.append(record) }
            let whole = try HostFiles.read(file)
            for length in whole.count - 12..<whole.count - 1 {
                try HostFiles.write(whole.prefix(length), to: file)
                #expect(try journal.records() == Array(records.dropLast()))
            }
            try HostFiles.write(Array("nonsense\n{\"kind\":\"new\"}\n".utf8) + whole, to: file)
            #expect(try journal.records() == records)
        }
    }

    @Test("a journal that nobody has begun has no records")
    func missing() async throws {
        try await withFolder { folder in
            let records = try Journal(folder.appending("none")).records()
            #expect(records == [])
        }
    }

    @Test("records of several writers at once never mix")
    func manyWriters() async throws {
        try await withFolder { folder in
            let journal = Journal(folder.appending("journal"))
            try await withThrowingTaskGroup(of: Void.self) { group in
                for writer in 0..<8 {
                    group.addTask {
                        for number in 0..<5 { try journal.append(.phase("\(writer)-\(number)")) }
                    }
                }
                try await group.waitForAll()
            }
            #expect(Set(try journal.records()).count == 40)
        }
    }
}
