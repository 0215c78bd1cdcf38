import Abstractions
import Host
import Testing

@testable import LibvirtBackend

@Suite("libvirt's test driver", .serialized)
struct TestDriverTests {
    @Test("a machine goes through its states and is gone")
    func lifecycle() async throws {
        try await TestBench.run(.test) { bench in
            let machine = try await bench.backend.create(bench.spec([try bench.disk("a", code: [])]))
            let events = machine.events()
            #expect(try await machine.state() == .defined)
            try await machine.start()
            #expect(try await machine.state() == .running)
            try await machine.pause?.pause()
            #expect(try await machine.state() == .paused)
            try await machine.pause?.resume()
            try await machine.stop(.force)
            #expect(try await machine.state() == .stopped)
            try await machine.destroy()
            try await machine.destroy()
            #expect(try await machine.state() == .gone)
            await #expect(throws: BackendError.self) { try await machine.start() }
            #expect(await wait(for: .gone, in: events))
        }
    }

    @Test("a second machine of the same name is refused and the first stays as it is")
    func duplicate() async throws {
        try await TestBench.run(.test) { bench in
            let spec = bench.spec([try bench.disk("a", code: [])])
            let machine = try await bench.backend.create(spec)
            try await machine.start()
            await #expect {
                _ = try await bench.backend.create(spec)
            } throws: {
                ($0 as? BackendError)?.code == .alreadyExists
            }
            #expect(try await machine.state() == .running)
            #expect(try await bench.backend.machines(ownedBy: "anyvisor-lvtest").map(\.id) == [spec.id])
        }
    }

    @Test("the driver's own machine is not ours, and features agree with facets")
    func facets() async throws {
        try await TestBench.run(.test) { bench in
            #expect(try await bench.backend.machines(ownedBy: .anyvisor).isEmpty)
            let info = try await bench.backend.info()
            #expect(!info.features.contains(.executesGuests))
            let machine = try await bench.backend.create(bench.spec([try bench.disk("a", code: [])]))
            #expect((machine.console != nil) == info.features.contains(.console))
            #expect((machine.pause != nil) == info.features.contains(.pause))
            #expect((machine.statistics != nil) == info.features.contains(.statistics))
        }
    }

    @Test("after close every call is refused and streams have ended")
    func closed() async throws {
        try await TestBench.run(.test) { bench in
            let machine = try await bench.backend.create(bench.spec([try bench.disk("a", code: [])]))
            let events = machine.events()
            try await machine.destroy()
            await bench.backend.close()
            await bench.backend.close()
            await #expect {
                _ = try await bench.backend.info()
            } throws: {
                ($0 as? BackendError)?.code == .invalidState
            }
            for await _ in events {}
        }
    }

    @Test("a missing image is named, and nothing is left")
    func missing() async throws {
        try await TestBench.run(.test) { bench in
            await #expect {
                _ = try await bench.backend.create(bench.spec(["/nonexistent/disk.raw"]))
            } throws: {
                let error = $0 as? BackendError
                return error?.code == .notFound && error?.message.contains("/nonexistent/disk.raw") == true
            }
            let left = try await bench.backend.machine(bench.name)
            #expect(left == nil)
            #expect(!HostFiles.exists(bench.folder.appending("console.log")))
        }
    }
}
