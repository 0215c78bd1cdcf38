import Abstractions

extension MachineInfo {
    /// The state, with what only we know of the machine: whether it ever ran, and whether its crash is settled.
    ///
    /// The words are those of `machineStateToName` in VirtualBox's VBoxManageInfo.cpp.
    func state(_ folder: MachineFolder) -> MachineState {
        switch stateWord {
        case "running", "starting", "stopping", "saving", "restoring", "livesnapshotting", "onlinesnapshotting",
            "teleporting", "deletingsnapshotlive":
            .running
        case "paused", "teleportingpausedvm", "deletingsnapshotlivepaused": .paused
        case "gurumeditation": .crashed
        case "aborted", "aborted-saved": folder.isSettled ? .stopped : .crashed
        default: !folder.hasStarted ? .defined : folder.isSettled || folder.hasEndedInOrder ? .stopped : .crashed
        }
    }

    /// Whether a process of VirtualBox holds the guest.
    var isActive: Bool { ["running", "paused", "gurumeditation"].contains(stateWord) || isInSession }
}
