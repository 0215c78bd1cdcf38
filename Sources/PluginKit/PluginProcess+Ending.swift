import Abstractions
import Host
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

// How a plugin's process ends: asked, killed, or by itself.

extension PluginProcess {
    /// Ends its input, which asks it to release everything; kills it after seven seconds.
    func close() async {
        let first = state.withLock { state in
            defer { state.isClosing = true }
            return !state.isClosing && state.death == nil
        }
        guard first else { return await death() }
        outgoing.end()
        let timer = Task {
            try await Task.sleep(for: .seconds(7))
            await kill(
                BackendError(.timeout, "plugin.close", "plugin '\(name)' did not end when it was asked", backend: name))
        }
        await death()
        timer.cancel()
    }

    /// Decides why it will be killed: from now on its answers do not count. The first reason stays.
    func condemn(_ verdict: BackendError) {
        state.withLock { state in
            if state.verdict == nil { state.verdict = verdict }
        }
    }

    /// Kills it and all that it started: TERM, then KILL; returns when it is gone, or cannot be killed.
    func kill(_ verdict: BackendError) async {
        condemn(verdict)
        if isDead { return }
        signal(SIGTERM)
        // A stopped process takes no TERM.
        signal(SIGCONT)
        let ladder = Task {
            try await Task.sleep(for: .milliseconds(300))
            // A process that waits for a mount in vain cannot be killed before the server of the mount is.
            for pause in [200, 800, 1_500, 2_500] {
                signal(SIGKILL)
                _ = await onOwnThread { [self] in killStragglers() }
                try await Task.sleep(for: .milliseconds(pause))
            }
            settle(nil)
        }
        await death()
        ladder.cancel()
    }

    /// Runs when its output has ended: nobody who does not speak is of use.
    func outputEnded(_ problem: BackendError?) async {
        if let problem, problem.operation != LineChannel.halfLine { return await kill(problem.named(name)) }
        if let problem {
            // Half a line: either it was killed in the middle of a word, or it does not know the protocol.
            state.withLock { state in
                if state.verdict == nil { state.verdict = problem.named(name) }
            }
        }
        if !state.withLock({ $0.isClosing }) { signal(SIGKILL) }
    }

    /// Waits for its end, and takes along all that it started.
    func awaitEnd(_ readers: [Task<Void, Never>], _ writer: Task<Void, Never>) async {
        let exit = await onOwnThread { [self] in
            child.waitWithoutReaping()
            child.signal(SIGKILL)
            killStragglers(awaiting: .seconds(2))
            let exit = isReaped.withLock { isReaped in
                isReaped = true
                return child.wait()
            }
            // What it had mounted goes before its calls fail, so that the next backend finds the image free. The rest is `reap`'s.
            try? RunScope.removeFolders(ofProcess: child.pid, in: scope)
            return exit
        }
        outgoing.stop()
        await writer.value
        // What it said before its end still counts. Somebody we do not know may hold its pipes open: then they stay open here.
        let timer = Task {
            try await Task.sleep(for: .seconds(2))
            settle(exit)
        }
        for reader in readers { await reader.value }
        timer.cancel()
        settle(exit)
        child.closePipes()
    }

    private func settle(_ exit: ProcessExit?) {
        let (verdict, isClosing) = state.withLock { ($0.verdict, $0.isClosing) }
        var death = verdict ?? defaultVerdict(exit, isClosing)
        if case .signaled = exit, death.operation == LineChannel.halfLine { death = defaultVerdict(exit, isClosing) }
        if exit == nil { death.evidence["kill"] = "the process does not end, it may still hold its locks" }
        let tail = errors
        if !tail.isEmpty { death.evidence["stderr"] = tail }
        let before = state.withLock { state -> State? in
            guard state.death == nil else { return nil }
            state.death = death
            defer {
                state.pending = [:]
                state.events = [:]
                state.deathWaiters = []
            }
            return state
        }
        guard let before else { return }
        settleHandshake(.failure(death))
        for call in before.pending.values {
            call.watch?.cancel()
            call.continuation.resume(throwing: death)
        }
        for listener in before.events.values.flatMap(\.values) {
            listener.yield(.lost(death))
            listener.finish()
        }
        before.deathWaiters.forEach { $0.resume() }
    }

    private func defaultVerdict(_ exit: ProcessExit?, _ isClosing: Bool) -> BackendError {
        if isClosing { return BackendError(.invalidState, "plugin", "backend '\(name)' is closed", backend: name) }
        let how = exit.map { " (\($0))" } ?? ""
        return BackendError(.crashed, "plugin", "plugin '\(name)' died\(how)", backend: name, retry: .reopen)
    }

    private func death() async {
        await withCheckedContinuation { continuation in
            let isDead = state.withLock { state in
                if state.death == nil { state.deathWaiters.append(continuation) }
                return state.death != nil
            }
            if isDead { continuation.resume() }
        }
    }

    private func signal(_ number: Int32) {
        isReaped.withLock { if !$0 { child.signal(number) } }
    }
}
