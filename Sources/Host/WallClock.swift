#if canImport(Glibc)
    import Glibc
#endif

/// What the clock on the wall says.
package enum WallClock {
    /// Milliseconds since 1970.
    package static var now: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }
}
