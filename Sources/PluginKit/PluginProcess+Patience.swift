import Abstractions
import Synchronization

// How long a call may take, and what happens when nobody waits for it any more.

extension PluginProcess {
    /// Watches over a registered call until it is answered.
    func watch(_ id: Int, _ method: String, _ patience: Patience) {
        let started = ContinuousClock.now
        let task = Task {
            var isSecondLook = false
            while let (due, reason) = end(of: id, patience, started) {
                if due > .now {
                    isSecondLook = false
                    try? await ContinuousClock.wait(until: due)
                } else if isSecondLook {
                    return await expire(id, method, reason)
                } else {
                    // This process itself may have been stopped: what came meanwhile must be read before we judge.
                    isSecondLook = true
                    try? await Task.sleep(for: .milliseconds(200))
                }
                if Task.isCancelled { return }
            }
        }
        let isOver = state.withLock { state in
            state.pending[id]?.watch = task
            return state.pending[id] == nil
        }
        if isOver { task.cancel() }
    }

    /// Removes a call that has its answer.
    func finish(_ id: Int) -> PendingCall? {
        let call = state.withLock { $0.pending.removeValue(forKey: id) }
        call?.watch?.cancel()
        return call
    }

    /// Asks the plugin to end a call, and ends the plugin when it does not.
    func cancelled(_ id: Int) {
        guard state.withLock({ $0.pending[id] != nil }) else { return }
        notify("$/cancel", CancelNotice(id: id))
        Task {
            try? await Task.sleep(for: .seconds(2))
            guard let call = finish(id) else { return }
            await kill(
                BackendError(
                    .crashed, "plugin", "plugin '\(name)' was ended: a cancelled call went on", backend: name,
                    retry: .reopen))
            call.continuation.resume(throwing: CancellationError())
        }
    }

    private func end(
        of id: Int, _ patience: Patience, _ started: ContinuousClock.Instant
    ) -> (ContinuousClock.Instant, String)? {
        let (lastSign, call, pulses) = state.withLock { ($0.lastSign, $0.pending[id], $0.pulses) }
        guard let call else { return nil }
        return patience.next(
            started: started, lastSign: pulses ? max(lastSign, started) : nil,
            lastProgress: max(call.lastProgress, started))
    }

    private func expire(_ id: Int, _ method: String, _ reason: String) async {
        let verdict = BackendError(.timeout, method, "plugin '\(name)' \(reason)", backend: name, retry: .reopen)
        condemn(verdict)
        notify("$/cancel", CancelNotice(id: id))
        await kill(verdict)
    }
}
