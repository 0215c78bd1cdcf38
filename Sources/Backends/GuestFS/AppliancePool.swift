import Abstractions
import Host
import Synchronization

/// The appliances of one backend: a session that is over hands its own to the next one, so that the start is paid once.
///
/// Sessions under way at the same time have one each; of those that come back at most one is kept. Blocks.
final class AppliancePool: Sendable {
    private let accelerator: Accelerator
    private let state = Mutex<(isClosed: Bool, idle: RunningAppliance?)>((false, nil))

    init(_ accelerator: Accelerator) { self.accelerator = accelerator }

    /// An appliance that answers: the idle one, or a new one.
    ///
    /// - Parameter admit: gets each one before its start, to be able to end it from another thread; false: nobody wants it any more.
    /// - Throws: `crashed` when it does not start, `unavailable`, what `admit`'s refusal means.
    func take(_ admit: (RunningAppliance) -> Bool) throws -> RunningAppliance {
        let idle = state.withLock { state in
            defer { state.idle = nil }
            return state.idle
        }
        if let idle {
            // It is nobody's yet, so nobody can end it while it is asked: that takes five seconds at most.
            if idle.answers, admit(idle) { return idle }
            try? idle.end()
        }
        return try accelerator.launch(admit)
    }

    /// Takes a sound appliance without disks back.
    func giveBack(_ appliance: RunningAppliance) {
        let isKept = state.withLock { state in
            guard !state.isClosed, state.idle == nil else { return false }
            state.idle = appliance
            return true
        }
        if !isKept { try? appliance.end() }
    }

    /// Ends the idle one; those in use end when they come back.
    func close() {
        let idle = state.withLock { state in
            defer { state.idle = nil }
            state.isClosed = true
            return state.idle
        }
        try? idle?.end()
    }
}
