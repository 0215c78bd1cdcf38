#if canImport(Glibc)
    import Glibc
#endif

/// Distribution functions that the tests need.
enum Distributions {
    /// The standard normal distribution function.
    static func normal(_ z: Double) -> Double { 0.5 * erfc(-z / 2.0.squareRoot()) }

    /// The z with `normal(z) == p`, for p from 0 to 1, by bisection.
    static func normalQuantile(_ p: Double) -> Double {
        var (low, high) = (-40.0, 40.0)
        for _ in 0..<80 {
            let middle = (low + high) / 2
            if normal(middle) < p { low = middle } else { high = middle }
        }
        return (low + high) / 2
    }

    /// The regularised incomplete beta function I_x(a, b), for x from 0 to 1 and a, b > 0.
    ///
    /// Source: NIST Digital Library of Mathematical Functions, 8.17.22, by Lentz's method.
    static func beta(_ x: Double, _ a: Double, _ b: Double) -> Double {
        if x <= 0 { return 0 }
        if x >= 1 { return 1 }
        if x > (a + 1) / (a + b + 2) { return 1 - beta(1 - x, b, a) }
        let front = exp(a * log(x) + b * log(1 - x) + lgamma(a + b) - lgamma(a) - lgamma(b)) / a
        func bounded(_ value: Double) -> Double { abs(value) < 1e-300 ? 1e-300 : value }
        var (fraction, c, d) = (1.0, 1.0, 0.0)
        for step in 0..<1000 {
            let m = Double(step / 2)
            let term =
                step == 0
                ? 1
                : step % 2 == 0
                    ? m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
                    : -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
            d = 1 / bounded(1 + term * d)
            c = bounded(1 + term / c)
            fraction *= c * d
            if abs(1 - c * d) < 1e-15 { break }
        }
        return front * (fraction - 1)
    }
}
