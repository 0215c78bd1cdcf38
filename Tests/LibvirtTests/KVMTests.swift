import Abstractions
import Host
import Testing

@testable import LibvirtBackend

@Suite("KVM")
struct KVMTests {
    private func finding(_ device: String, flags: String) throws -> Finding {
        let folder = try RunScope.makeProcessFolder("kvm-test")
        defer { try? HostFiles.removeTree(folder) }
        let processor = folder.appending("cpuinfo")
        try HostFiles.write(Array("processor\t: 0\nflags\t\t: fpu \(flags) sse2\n".utf8), to: processor)
        return LibvirtDialect.deviceFinding(device, processor: processor)
    }

    @Test("a processor that can virtualize lacks a module, which is a command away", arguments: ["vmx", "svm"])
    func module(flag: String) throws {
        let finding = try finding("/nowhere/kvm", flags: flag)
        #expect(finding.status == .bad)
        #expect(finding.remedy?.contains("modprobe") == true)
    }

    @Test("a processor that cannot virtualize is told as what no command on this host cures", arguments: ["", "svmx"])
    func processor(flag: String) throws {
        let finding = try finding("/nowhere/kvm", flags: flag)
        #expect(finding.status == .impossible && finding.isObstacle)
        #expect(finding.remedy?.contains("modprobe") == false)
    }

    @Test("a device that is not KVM's is an obstacle")
    func otherDevice() throws {
        #expect(try finding("/dev/null", flags: "vmx").isObstacle)
    }
}
