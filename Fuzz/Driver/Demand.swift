/// Ends the fuzzer with a message when something does not hold; `precondition` says nothing in an optimised build.
public func demand(_ holds: Bool, _ message: @autoclosure () -> String) {
    if !holds { fatalError(message()) }
}
