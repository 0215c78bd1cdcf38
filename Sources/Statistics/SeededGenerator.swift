#if canImport(Glibc)
    import Glibc
#endif

/// Random numbers that a seed gives again, on every machine.
///
/// xoshiro256**, its state filled by SplitMix64 (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021).
public struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: (UInt64, UInt64, UInt64, UInt64)
    private var spare: Double?

    /// - Parameters:
    ///   - seed: what the numbers follow from.
    ///   - stream: another stream of the same seed, independent of the others.
    public init(seed: UInt64, stream: UInt64 = 0) {
        var source = seed
        func split() -> UInt64 {
            source &+= 0x9e37_79b9_7f4a_7c15
            var word = source
            word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
            word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
            return word ^ (word >> 31)
        }
        let first = split()
        source = first ^ (stream &* 0xd134_2543_de82_ef95)
        state = (split(), split(), split(), split())
    }

    /// The next 64 bits.
    public mutating func next() -> UInt64 {
        func turned(_ word: UInt64, _ count: UInt64) -> UInt64 { (word << count) | (word >> (64 - count)) }
        let result = turned(state.1 &* 5, 7) &* 9
        let shifted = state.1 << 17
        state.2 ^= state.0
        state.3 ^= state.1
        state.1 ^= state.2
        state.0 ^= state.3
        state.2 ^= shifted
        state.3 = turned(state.3, 45)
        return result
    }

    /// A whole number from 0 to `count` - 1; `count` is from 1 to 2^32.
    public mutating func index(below count: Int) -> Int {
        // The high half of a product (Lemire, 2019); what is left of a bias is below 2^-32.
        Int(((next() >> 32) &* UInt64(count)) >> 32)
    }

    /// A number from 0 to below 1.
    public mutating func unit() -> Double { Double(next() >> 11) * 0x1p-53 }

    /// A number of the normal distribution with mean 0 and standard deviation 1 (Marsaglia's polar method).
    public mutating func normal() -> Double {
        if let number = spare {
            spare = nil
            return number
        }
        while true {
            let (x, y) = (2 * unit() - 1, 2 * unit() - 1)
            let square = x * x + y * y
            guard square > 0, square < 1 else { continue }
            let factor = (-2 * log(square) / square).squareRoot()
            spare = y * factor
            return x * factor
        }
    }

    /// The same values in a fresh random order (Fisher and Yates).
    public mutating func shuffled<Value>(_ values: [Value]) -> [Value] {
        var values = values
        for last in stride(from: values.count - 1, to: 0, by: -1) { values.swapAt(last, index(below: last + 1)) }
        return values
    }
}
