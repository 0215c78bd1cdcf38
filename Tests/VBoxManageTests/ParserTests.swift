import Abstractions
import Host
import Testing

@testable import VBoxManageBackend

/// Lines of VirtualBox 7.2.22's `showvminfo --machinereadable`.
private let sample = #"""
    name="anyvisor-p-1"
    UUID="1608bd6b-fad1-42b4-9c81-ba0a64570622"
    CfgFile="/p/vms/anyvisor-p-1/anyvisor-p-1.vbox"
    LogFldr="/p/vms/anyvisor-p-1/Logs"
    memory=32
    VMState="running"
    VMStateChangeTime="2026-11-26T18:41:56.980000000"
    storagecontrollername0="IDE"
    "IDE-0-0"="/p/vms/anyvisor-p-1/Snapshots/{11cbebba-bc7b-4109-a9b6-e5b49e2920cb}.vmdk"
    "IDE-ImageUUID-0-0"="11cbebba-bc7b-4109-a9b6-e5b49e2920cb"
    "IDE-nonrotational-0-0"="off"
    "IDE-0-1"="/p/a \"quoted\" \\ name=x.vdi"
    "IDE-1-0"="none"
    "IDE-1-1"="emptydrive"
    uart1="0x03f8,4"
    uartmode1="file,/p/serial"
     rec_screen0
    SessionName="headless"
    SnapshotName="a"
    SnapshotUUID="17b378a4-c321-42ea-bb62-5b41afa93265"
    SnapshotDescription="two lines
    VMState="poweroff"
    "
    SnapshotName-1="b"
    SnapshotUUID-1="649223b7-6075-430b-a06b-f9df7e281bc1"
    SnapshotName-1-1="b c"
    SnapshotUUID-1-1="00000000-0000-0000-0000-000000000011"
    SnapshotName-2="d"
    SnapshotUUID-2="00000000-0000-0000-0000-000000000002"
    CurrentSnapshotName="b c"
    CurrentSnapshotUUID="00000000-0000-0000-0000-000000000011"
    CurrentSnapshotNode="SnapshotName-1-1"
    GuestMemoryBalloon=0
    """#

@Suite("what VBoxManage prints")
struct ParserTests {
    @Test("a machine's words, files and drives are read; quotes in them too")
    func machine() {
        let info = MachineInfo(sample)
        #expect(info["memory"] == "32")
        #expect(info.stateWord == "running" && info.isInSession && info.isActive)
        #expect(info.settings == "/p/vms/anyvisor-p-1/anyvisor-p-1.vbox")
        #expect(info.log == "/p/vms/anyvisor-p-1/Logs/VBox.log")
        #expect(info.consoleFile == "/p/serial")
        #expect(
            info.media == [
                "/p/vms/anyvisor-p-1/Snapshots/{11cbebba-bc7b-4109-a9b6-e5b49e2920cb}.vmdk",
                #"/p/a "quoted" \ name=x.vdi"#,
            ])
    }

    @Test("a snapshot's description tells whether it brings the memory back, and in which state")
    func memory() {
        for state in [MachineState.running, .paused] {
            let description = SnapshotNode.description(withMemoryOf: state)
            let text = "SnapshotName=\"a\"\nSnapshotUUID=\"1\"\nSnapshotDescription=\"\(description)\""
            #expect(MachineInfo(text).snapshots.map(\.memoryState) == [state])
        }
        #expect(MachineInfo(sample).snapshots.allSatisfy { $0.memoryState == nil })
    }

    @Test("snapshots are a tree, and a description cannot pass for the machine's state")
    func snapshots() {
        let nodes = MachineInfo(sample).snapshots
        #expect(nodes.map(\.name) == ["a", "b", "b c", "d"])
        #expect(nodes.map(\.parent) == [nil, nodes[0].uuid, nodes[1].uuid, nodes[0].uuid])
        #expect(nodes.map(\.isCurrent) == [false, false, true, false])
        #expect(MachineInfo("VMState=\"poweroff\"").snapshots.isEmpty)
    }

    @Test(
        "the words for states",
        arguments: [
            ("running", MachineState.running), ("starting", .running), ("paused", .paused), ("poweroff", .defined),
            ("saved", .defined), ("aborted", .crashed), ("gurumeditation", .crashed),
        ])
    func states(word: String, state: MachineState) {
        #expect(MachineInfo("VMState=\"\(word)\"").state(MachineFolder(path: "/no/such/folder")) == state)
    }

    @Test("a machine that ran is stopped, and one whose crash is settled too")
    func marks() throws {
        let place = try RunScope.makeProcessFolder("vboxmanage-test")
        defer { try? HostFiles.removeTree(place) }
        let folder = MachineFolder(path: place.appending("m"))
        try folder.make(images: ["/a", "/b c"])
        #expect(folder.isOurs && folder.imageFiles == ["/a", "/b c"])
        #expect(MachineInfo("VMState=\"poweroff\"").state(folder) == .defined)
        #expect(try folder.noteStart())
        #expect(try !folder.noteStart())
        #expect(MachineInfo("VMState=\"poweroff\"").state(folder) == .stopped)
        #expect(MachineInfo("VMState=\"aborted\"").state(folder) == .crashed)
        folder.settle()
        #expect(MachineInfo("VMState=\"aborted\"").state(folder) == .stopped)
        #expect(try !folder.noteStart())
        #expect(MachineInfo("VMState=\"aborted\"").state(folder) == .crashed)
        folder.forgetStart()
        #expect(MachineInfo("VMState=\"poweroff\"").state(folder) == .defined)
        // What a killed process left is replaced, what is somebody else's is not.
        try folder.make(images: [])
        try HostFiles.removeTree(folder.path.appending("anyvisor.images"))
        try HostFiles.write([1], to: folder.path.appending("theirs.vdi"))
        #expect(throws: BackendError.self) { try folder.make(images: []) }
        #expect(HostFiles.exists(folder.path.appending("theirs.vdi")))
    }

    @Test("a machine whose log ends before its guest did has crashed, whatever VirtualBox says, until that is settled")
    func diedWithItsService() throws {
        let place = try RunScope.makeProcessFolder("vboxmanage-test")
        defer { try? HostFiles.removeTree(place) }
        let folder = MachineFolder(path: place.appending("anyvisor-t-1"))
        try folder.make(images: [])
        #expect(try folder.noteStart())
        let log = folder.path.appending("Logs/VBox.log")
        try HostFiles.makeDirectories(log.parent)
        let off = MachineInfo("VMState=\"poweroff\"")
        let running = "00:00:01.1 Console: Machine state changed to 'Running'\n"
        let noise = String(repeating: "00:00:02.2 PIT: mode=2\n", count: 2_000)
        try HostFiles.write(Array((running + noise).utf8), to: log)
        #expect(off.state(folder) == .crashed)
        folder.settle()
        #expect(off.state(folder) == .stopped)
        #expect(try !folder.noteStart())
        #expect(off.state(folder) == .crashed)
        let end = "00:00:04.8 Console: Machine state changed to 'PoweredOff'\n00:00:04.9 VBoxHeadless: exiting\n"
        try HostFiles.write(Array((running + noise + end).utf8), to: log)
        #expect(off.state(folder) == .stopped)
    }

    @Test("the console is all starts, one after another")
    func console() throws {
        let place = try RunScope.makeProcessFolder("vboxmanage-test")
        defer { try? HostFiles.removeTree(place) }
        let folder = MachineFolder(path: place.appending("m"))
        try folder.make(images: [])
        #expect(try folder.readConsole(folder.console, 0, 10) == [])
        for text in ["first\n", "second\n", "third\n"] {
            try folder.keepConsole(folder.console)
            try HostFiles.write(Array(text.utf8), to: folder.console)
        }
        let all = Array("first\nsecond\nthird\n".utf8)
        #expect(try folder.readConsole(folder.console, 0, 100) == all)
        for offset in 0...all.count {
            for count in [0, 1, 5, 100] {
                let wanted = Array(all.dropFirst(offset).prefix(count))
                #expect(try folder.readConsole(folder.console, Int64(offset), count) == wanted)
            }
        }
        #expect(try folder.readConsole(folder.console, 5000, 10) == [])
    }

    @Test("the list of machines")
    func machines() {
        let text = """
            "mini" {c2311859-6150-4034-8bde-527b935e84d8}
            "a "b" c" {ca9164d7-7122-4aca-8501-922b8a67fdf6}
            "<inaccessible>" {a113759c-1dad-410a-ad0f-c936a7c0c917}
            nonsense
            """
        let list = RegisteredMachine.list(text)
        #expect(list.map(\.id) == ["mini", "a \"b\" c", "<inaccessible>"])
        #expect(list.first?.uuid == "c2311859-6150-4034-8bde-527b935e84d8")
    }

    @Test("the list of disks, and the order in which they can be closed")
    func media() {
        let text = """
            UUID:           e6a41a03
            Parent UUID:    base
            State:          created
            Type:           normal (base)
            Location:       /p/sys: 1.vmdk
            Storage format: VMDK

            UUID:           a9b88515
            Parent UUID:    e6a41a03
            Location:       /p/Snapshots/{a9b88515}.vmdk
            Property:       BootSector=
                            Partitions=

            UUID:           deb82c4e
            Parent UUID:    a9b88515
            Location:       /p/Snapshots/{deb82c4e}.vmdk
            """
        let list = RegisteredMedium.list(text)
        #expect(list.map(\.uuid) == ["e6a41a03", "a9b88515", "deb82c4e"])
        #expect(list.map(\.parent) == [nil, "e6a41a03", "a9b88515"])
        #expect(list[0].location == "/p/sys: 1.vmdk")
        #expect(RegisteredMedium.childrenFirst(list).map(\.uuid) == ["deb82c4e", "a9b88515", "e6a41a03"])
        #expect(RegisteredMedium.list("").isEmpty)
    }
}
