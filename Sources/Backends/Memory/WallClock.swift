import FoundationEssentials

/// Nanoseconds since 1970, to the microsecond.
func now() -> Int64 { Int64(Date().timeIntervalSince1970 * 1_000_000) * 1_000 }
