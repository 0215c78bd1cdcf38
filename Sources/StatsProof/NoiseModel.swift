import Statistics

/// A machine that is not quiet, as the proof simulates it: times of one second with what disturbs them.
struct NoiseModel {
    /// Standard deviation of what is new in each measurement.
    var noise = 0.02
    /// Standard deviation of what lasts: an autoregression of order 1.
    var slow = 0.012
    /// How much of that remains in the next measurement.
    var memory = 0.8
    /// How much slower the machine is at the end of the comparison than at its beginning, in a straight line.
    var drift = 0.0

    /// The times of so many measurements in a row, the second thing's longer by the factor.
    ///
    /// - Parameter isSecond: for each measurement, whether it is of the second thing.
    func times(_ isSecond: [Bool], factor: Double, using generator: inout SeededGenerator) -> [Double] {
        let step = slow * (1 - memory * memory).squareRoot()
        var state = slow * generator.normal()
        return isSecond.enumerated().map { place, isLonger in
            if place > 0 { state = memory * state + step * generator.normal() }
            let way = isSecond.count > 1 ? Double(place) / Double(isSecond.count - 1) : 0
            let time = (1 + state + noise * generator.normal()) * (1 + drift * way)
            return isLonger ? time * factor : time
        }
    }
}
