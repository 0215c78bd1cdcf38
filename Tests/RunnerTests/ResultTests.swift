import Abstractions
import Host
import Testing

@testable import Runner

@Suite("What comes back from a guest")
struct ResultTests {
    private let folder: TestFolder
    private let collector: ResultCollector

    init() throws {
        folder = try TestFolder()
        let tasks = ["one", "two", "three", "four", "five"].map { TaskSpec(id: $0, run: "x") }
        collector = ResultCollector(
            report: folder.path.appending("report"), staging: folder.path.appending("in"), tasks: tasks,
            folders: JobFolder.names(tasks), quota: ResultQuota())
        try HostFiles.makeDirectories(collector.staging)
    }

    @Test("gives each task the status that the guest's README names")
    func statuses() throws {
        _ = try folder.write("in/001-one/status", "success\n")
        _ = try folder.write("in/001-one/exit", "0\n")
        _ = try folder.write("in/001-one/stdout", "hello\n")
        _ = try folder.write("in/001-one/usage", "source=cgroup2\nwall_ms=12\ncpu_us=5\n")
        _ = try folder.write("in/001-one/artifacts/tmp/a", "x")
        _ = try folder.write("in/002-two/status", "killed\n")
        _ = try folder.write("in/002-two/reason", "timeout\n")
        _ = try folder.write("in/003-three/stdout", "so far\n")
        _ = try folder.write("in/003-three/status", "")
        _ = try folder.write("in/004-four/status", "triumph\n")
        try HostFiles.makeDirectories(collector.staging.appending("005-five"))
        _ = try folder.write("in/surprise", "x")
        let harvest = try collector.sort(CopyReport())
        #expect(harvest.tasks.map(\.status) == [.success, .killed, .killed, .nodata, .missing])
        #expect(harvest.tasks[4].folder == nil)
        #expect(harvest.tasks[0].exit == 0)
        #expect(harvest.tasks[0].stdoutBytes == 6)
        #expect(harvest.tasks[0].artifactFiles == 1)
        #expect(harvest.tasks[0].usage?.wallMs == 12)
        #expect(harvest.tasks[0].usage?.memoryPeakBytes == nil)
        #expect(harvest.tasks[1].reasons == ["timeout"])
        #expect(harvest.tasks[2].reasons == ["the machine ended while the task ran"])
        #expect(harvest.refused.refused == [RefusedEntry(path: "surprise", reason: "not the result of a task")])
        #expect(!HostFiles.exists(collector.staging))
        #expect(try HostFiles.readText(folder.path.appending("report/tasks/003-three/stdout")) == "so far\n")
    }

    @Test("is partial when an artifact was refused")
    func partial() throws {
        _ = try folder.write("in/001-one/status", "success\n")
        var copied = CopyReport()
        copied.refuse("001-one/artifacts/tmp/link", "symbolic link")
        let harvest = try collector.sort(copied)
        #expect(harvest.tasks[0].status == .partial)
        #expect(harvest.tasks[0].reasons == ["artifact-refused tmp/link: symbolic link"])
    }
}
