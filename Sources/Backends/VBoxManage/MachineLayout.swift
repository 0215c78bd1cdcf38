import Abstractions
import BackendSupport
import Host

/// What has to be made for a spec: files in the machine's folder, then VirtualBox's commands.
struct MachineLayout: Sendable {
    let spec: MachineSpec
    let folder: MachineFolder
    /// What VirtualBox will call the machine by.
    let uuid: String

    /// How many disks, the cdrom among them, two IDE cables take.
    static let places = 4

    init(_ spec: MachineSpec, folder: MachineFolder, uuid: String = randomUUID()) {
        self.spec = spec
        self.folder = folder
        self.uuid = uuid
    }

    /// The host file for the serial console.
    var console: HostPath { spec.consoleLog ?? folder.console }

    /// The CD in the machine's drive.
    private var disc: HostPath? {
        switch spec.boot {
        case .disk: nil
        case .cdrom(let image): image
        case .kernel: folder.files.kernelDisc
        }
    }

    /// Makes the folder, the console's file, what stands for raw images, and the CD for a kernel.
    ///
    /// - Throws: `invalidArgument` for a raw image or a kernel's command line that VirtualBox could not take, what the host says.
    func makeFiles() async throws {
        try folder.make(images: spec.disks.map(\.image.path), console: console)
        try await folder.files.make(for: spec)
        _ = try ConsoleFile.begin(console)
    }

    /// The commands, in order.
    var commands: [[String]] {
        var commands = [
            [
                "createvm", "--name", spec.id.rawValue, "--uuid", uuid, "--ostype", "Other_64", "--register",
                "--basefolder", folder.path.parent.string,
            ],
            ["modifyvm", uuid] + settings,
            // A guest that resets itself has ended: a kernel that panics must not boot a second time.
            ["setextradata", uuid, "VBoxInternal2/TurnResetIntoPowerOff", "1"],
            ["storagectl", uuid, "--name", "IDE", "--add", "ide", "--controller", "PIIX4"],
        ]
        for (number, disk) in spec.disks.enumerated() { commands.append(attach(disk, number)) }
        if let disc {
            commands.append(place(MachineLayout.places - 1) + ["--type", "dvddrive", "--medium", disc.string])
        }
        return commands
    }

    private var settings: [String] {
        let isDisk = spec.boot == .disk
        let network = spec.network == .user ? "nat" : "none"
        return [
            "--memory", "\((spec.memory.bytes + (1 << 20) - 1) >> 20)", "--cpus", "\(spec.cpus)", "--ioapic", "on",
            "--rtcuseutc", "on", "--boot1", isDisk ? "disk" : "dvd", "--boot2", "none", "--boot3", "none",
            "--boot4", "none", "--nic1", network, "--graphicscontroller", "vboxvga", "--vram", "8",
            "--audio-driver", "none", "--bioslogofadein", "off", "--bioslogofadeout", "off",
            "--bioslogodisplaytime", "0", "--biosbootmenu", "disabled", "--uart1", "0x3F8", "4", "--uartmode1", "file",
            console.string,
        ]
    }

    private func place(_ number: Int) -> [String] {
        ["storageattach", uuid, "--storagectl", "IDE", "--port", "\(number / 2)", "--device", "\(number % 2)"]
    }

    private func attach(_ disk: DiskAttachment, _ number: Int) -> [String] {
        // What takes no part in snapshots: the IO disk keeps all writes, a read-only disk loses them at the next start.
        let type = disk.readOnly ? "immutable" : disk.role == .io ? "writethrough" : "normal"
        let medium = disk.image.format == .raw ? folder.files.descriptor(number) : disk.image.path
        return place(number) + ["--type", "hdd", "--medium", medium.string, "--mtype", type]
    }
}
