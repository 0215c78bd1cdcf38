#if canImport(Glibc)
    import Glibc
#endif

/// Asks every few milliseconds until the answer is yes; false when that takes longer. Blocks its thread.
public func eventually(within limit: Duration, _ condition: () -> Bool) -> Bool {
    let end = ContinuousClock.now + limit
    while !condition() {
        if ContinuousClock.now >= end { return false }
        usleep(3000)
    }
    return true
}
