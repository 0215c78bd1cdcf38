import Abstractions
import BackendSupport
import Host

/// Snapshots inside the disks of a running domain, made by its QEMU: all disks at one moment, or the disks and the memory.
///
/// libvirt's own calls take either all disks of a domain or none, and restart QEMU for a restore.
struct RunningSnapshots: DiskSnapshots {
    let monitor: QEMUMonitor
    /// QEMU's names for the disks that take part; the first also keeps the memory.
    let nodes: [String]

    init(_ monitor: QEMUMonitor, files: [HostPath]) throws {
        self.monitor = monitor
        nodes = try monitor.nodes(of: files)
    }

    private struct OfDisk: Encodable {
        var device: String
        var name: String
    }
    private struct Transaction: Encodable {
        struct Action: Encodable {
            var type = "blockdev-snapshot-internal-sync"
            var data: OfDisk
        }
        var actions: [Action]
    }
    private struct WithMemory: JobArguments {
        var jobID = "anyvisor-\(randomUUID())"
        var tag: String
        var vmstate: String
        var devices: [String]
        enum CodingKeys: String, CodingKey {
            case jobID = "job-id"
            case tag, vmstate, devices
        }
    }

    func create(_ tag: String) throws {
        try monitor.run("transaction", Transaction(actions: nodes.map { .init(data: OfDisk(device: $0, name: tag)) }))
    }

    /// The disks and the memory; the guest stands still meanwhile.
    func createWithMemory(_ tag: String) throws {
        try monitor.runJob("snapshot-save", WithMemory(tag: tag, vmstate: nodes[0], devices: nodes))
    }

    /// Takes the disks and the memory back; the guest stands still or runs as before.
    func restoreWithMemory(_ tag: String) throws {
        try monitor.runJob("snapshot-load", WithMemory(tag: tag, vmstate: nodes[0], devices: nodes))
    }

    func delete(_ tag: String) throws {
        for node in nodes {
            do {
                try monitor.run("blockdev-snapshot-delete-internal-sync", OfDisk(device: node, name: tag))
            } catch let error as BackendError where error.code == .notFound {
                continue
            }
        }
    }
}

/// Snapshots inside the disks of one machine; each stands in every disk under the same tag.
protocol DiskSnapshots {
    /// Takes one of all disks; when it throws, some may have it, which `delete` then removes.
    func create(_ tag: String) throws
    /// Removes one; does nothing for a disk that does not have it.
    func delete(_ tag: String) throws
}
