import Abstractions
import GuestFSBackend
import Host
import Testing

#if canImport(Glibc)
    import Glibc
#endif

extension ApplianceTests {
    @Suite
    struct AppliancePoolTests {
        @Test("Sessions have one appliance after another, and none sees what another one saw", .timeLimit(.minutes(3)))
        func nothingStale() async throws {
            try await ApplianceLab.with { lab in
                let first = try await lab.ext4("first", "the first disk")
                let second = try await lab.ext4("second", "another disk!!")
                #expect(try await lab.read("/file", first) == "the first disk")
                let appliances = ApplianceLab.appliances
                #expect(appliances.count == 1)
                #expect(try await lab.read("/file", second) == "another disk!!")
                // Somebody else changes the first one, in the very blocks that the appliance has read.
                try HostFiles.write(try HostFiles.read(second.path), to: first.path)
                #expect(try await lab.read("/file", first) == "another disk!!")
                try await lab.write("written in a session", to: "/file", first)
                #expect(try await lab.read("/file", first) == "written in a session")
                #expect(try await lab.read("/file", second) == "another disk!!")
                let small = try await lab.image("small", "8M", "mke2fs", ["-q", "-F", "-t", "ext4"])
                try await lab.write("of another size", to: "/new", small)
                #expect(try await lab.read("/new", small) == "of another size")
                // What is not committed is gone, though the appliance had it.
                try await lab.session(second, .readWrite) { session in
                    let writable = try #require(try await session.filesystem(on: .whole).writable)
                    try await writable.remove("/file", recursive: false)
                }
                #expect(try await lab.read("/file", second) == "another disk!!")
                #expect(ApplianceLab.appliances == appliances)
            }
        }

        @Test("Sessions at the same time have an appliance each, and one is kept", .timeLimit(.minutes(3)))
        func twoAtOnce() async throws {
            try await ApplianceLab.with { lab in
                let first = try await lab.ext4("first", "one")
                let second = try await lab.ext4("second", "two")
                try await lab.session(first, .readOnly) { session in
                    let filesystem = try await session.filesystem(on: .whole)
                    #expect(try await lab.read("/file", second) == "two")
                    #expect(ApplianceLab.appliances.count == 2)
                    #expect(try await filesystem.read("/file", offset: 0, count: 9) == Array("one".utf8))
                }
                #expect(ApplianceLab.appliances.count == 1)
            }
        }

        @Test("An appliance that died or was stopped is killed and serves nobody any more", .timeLimit(.minutes(5)))
        func lostOnes() async throws {
            try await ApplianceLab.with { lab in
                let image = try await lab.ext4("disk", "alive")
                #expect(try await lab.read("/file", image) == "alive")
                for signal in [SIGKILL, SIGSTOP] {
                    let old = try #require(ApplianceLab.appliances.first)
                    kill(old, signal)
                    #expect(try await lab.read("/file", image) == "alive")
                    #expect(!ApplianceLab.appliances.contains(old))
                }
                try await lab.session(image, .readOnly) { session in
                    let failure = try await failureOfStopped(session, deadline: nil, within: .seconds(8))
                    #expect(failure?.code == .crashed)
                    #expect(failure?.message.contains("was stopped") == true)
                }
                #expect(ApplianceLab.appliances.isEmpty)
                try await lab.session(image, .readOnly) { session in
                    let failure = try await failureOfStopped(session, deadline: .seconds(1), within: .seconds(4))
                    #expect(failure?.code == .timeout)
                }
                #expect(ApplianceLab.appliances.isEmpty)
            }
        }

        /// Stops the session's appliance and says what a call throws then.
        private func failureOfStopped(
            _ session: any DiskSession, deadline: Duration?, within limit: Duration
        ) async throws -> BackendError? {
            let filesystem = try await session.filesystem(on: .whole)
            kill(try #require(ApplianceLab.appliances.first), SIGSTOP)
            let begun = ContinuousClock.now
            let failure = await #expect(throws: BackendError.self) {
                try await CallDeadline.$current.withValue(deadline.map { .now + $0 }) {
                    try await filesystem.stat("/file")
                }
            }
            #expect(.now - begun < limit)
            return failure
        }
    }
}

/// One after another: each counts the appliances of the process.
@Suite(.serialized)
enum ApplianceTests {}
