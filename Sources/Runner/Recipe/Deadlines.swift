import Abstractions

/// How long each part of a run may take: the one table.
public struct Deadlines: Sendable, Hashable {
    private var values: [Key: Duration]

    /// What has a deadline; the raw value is the key in `deadlines:`.
    public enum Key: String, Sendable, Hashable, CaseIterable {
        /// Find or build the image, reach the hypervisor.
        case resolve
        /// Get the inputs.
        case fetch
        /// Make the IO disk and lay out the job.
        case prepare
        /// Write the job to the IO disk.
        case upload
        /// Make the disposable system disk.
        case snapshot
        /// From the start of the machine to the agent's first word.
        case boot
        /// From the agent's first word until the machine is off.
        case tasks
        /// Read the results.
        case download
        /// Check the image and drop the disposable disk.
        case rollback
        /// Free the machine and the backends.
        case release
        /// A single question to a backend that runs no long work.
        case call
        /// How long a machine that has said it is done may take to power off.
        case powerOff = "power-off"
        /// How much later than the guest the host ends a task that is over its timeout.
        case taskMargin = "task-margin"
    }

    /// The values when nobody says otherwise. Emulated processors are slow: boot and tasks have room for them.
    public static let standard = Deadlines(values: [
        .resolve: .seconds(1800),
        .fetch: .seconds(600),
        .prepare: .seconds(60),
        .upload: .seconds(300),
        .snapshot: .seconds(60),
        .boot: .seconds(120),
        .tasks: .seconds(1800),
        .download: .seconds(300),
        .rollback: .seconds(60),
        .release: .seconds(60),
        .call: .seconds(15),
        .powerOff: .seconds(20),
        .taskMargin: .seconds(15),
    ])

    /// A deadline.
    public subscript(key: Key) -> Duration {
        get { values[key] ?? .seconds(60) }
        set { values[key] = newValue }
    }

    /// This table with others laid over it.
    public func merging(_ others: [Key: Duration]) -> Deadlines {
        Deadlines(values: values.merging(others) { $1 })
    }
}
