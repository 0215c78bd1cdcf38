import Abstractions

/// A named fault that can be switched on in the reference fake; each breaks one sentence of the contract.
///
/// The conformance suite must fail with every one of them: that is how the suite itself is tested.
package enum MemoryFault: String, Sendable, CaseIterable {
    case duplicateCreateOverwrites = "duplicate-create-overwrites"
    case failedCreateLeavesMachine = "failed-create-leaves-machine"
    case invalidNameAccepted = "invalid-name-accepted"
    case missingImageAccepted = "missing-image-accepted"
    case machinesUnsorted = "machines-unsorted"
    case machinesIgnoreOwner = "machines-ignore-owner"
    case startTwiceAllowed = "start-twice-allowed"
    case stopDefinedThrows = "stop-defined-throws"
    case stopLeavesRunning = "stop-leaves-running"
    case destroyLeavesMachine = "destroy-leaves-machine"
    case destroyTwiceThrows = "destroy-twice-throws"
    case destroyRemovesImages = "destroy-removes-images"
    case goneMachineAnswers = "gone-machine-answers"
    case eventsNeverEnd = "events-never-end"
    case eventsSkipStopped = "events-skip-stopped"
    case featuresLieConsole = "features-lie-console"
    case consoleIgnoresOffset = "console-ignores-offset"
    case pauseStoppedAllowed = "pause-stopped-allowed"
    case snapshotDuplicateAllowed = "snapshot-duplicate-allowed"
    case snapshotDeleteDropsChildren = "snapshot-delete-drops-children"
    case screenshotOverwrites = "screenshot-overwrites"
    case detachUnknownSilent = "detach-unknown-silent"
    case closedHypervisorAnswers = "closed-hypervisor-answers"

    case closeTwiceThrows = "close-twice-throws"
    case closeCommits = "close-commits"
    case commitLosesLastWrite = "commit-loses-last-write"
    case commitEndsSession = "commit-ends-session"
    case secondWriterAllowed = "second-writer-allowed"
    case closedSessionStillWrites = "closed-session-still-writes"
    case readOnlyIsWritable = "read-only-is-writable"
    case dirtyJournalOpened = "dirty-journal-opened"
    case damagedHeaderOverwritten = "damaged-header-overwritten"
    case listUnsorted = "list-unsorted"
    case listDropsEntry = "list-drops-entry"
    case readPastEndThrows = "read-past-end-throws"
    case negativeOffsetRead = "negative-offset-read"
    case statFollowsLink = "stat-follows-link"
    case namesMangled = "names-mangled"
    case copyOutFollowsLink = "copy-out-follows-link"
    case copyOutOverwrites = "copy-out-overwrites"
    case copyOutLeavesPart = "copy-out-leaves-part"
    case untrustedKeepsSetuid = "untrusted-keeps-setuid"
    case untrustedKeepsLinks = "untrusted-keeps-links"
    case quotaIgnored = "quota-ignored"
    case copyInForgetsTimes = "copy-in-forgets-times"
    case copyInForgetsOwners = "copy-in-forgets-owners"
    case hardLinksSplit = "hard-links-split"
    case renameOverwritesFolder = "rename-overwrites-folder"
    case removeTakesFullFolder = "remove-takes-full-folder"
    case fullDiskSilent = "full-disk-silent"
    case progressGoesBack = "progress-goes-back"
}

/// All faults of the reference fake.
package enum MemoryFaults {
    /// Every fault, in the order of their protocols.
    package static let all = MemoryFault.allCases

    static func option(_ kind: BackendKind) -> OptionDeclaration {
        OptionDeclaration(
            "fault", .string, help: "break one sentence of the contract on purpose, to test the conformance suite",
            choices: all.filter { $0.kind == kind }.map(\.rawValue))
    }
}

extension MemoryFault {
    /// The protocol whose contract it breaks.
    package var kind: BackendKind {
        let first = MemoryFault.closeTwiceThrows
        let order = MemoryFault.allCases
        let isDisk = (order.firstIndex(of: self) ?? 0) >= (order.firstIndex(of: first) ?? 0)
        return isDisk ? .disk : .hypervisor
    }

    static func named(in options: OptionValues) -> MemoryFault? {
        options["fault"].flatMap { MemoryFault(rawValue: $0) }
    }
}
