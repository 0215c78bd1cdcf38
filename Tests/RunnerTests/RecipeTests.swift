import Abstractions
import Testing

@testable import Runner

@Suite("A recipe")
struct RecipeTests {
    private let folder: TestFolder

    init() throws { folder = try TestFolder() }

    private func problems(_ text: String) throws -> [String] {
        let file = try folder.write("r.yaml", text)
        do {
            _ = try Recipe(file: file)
            return []
        } catch let problems as Problems {
            return problems.diagnostics.map { "\($0.place.line):\($0.place.column) \($0.message)" }
        }
    }

    @Test("is read whole")
    func whole() throws {
        let file = try folder.write(
            "r.yaml",
            """
            name: six
            image: debian-python
            machine: {cpus: 2, memory: 1GiB, network: none}
            hypervisor: {prefer: [a, b], options: {a: {uri: "x:///y"}}}
            disk: [c]
            deadlines: {boot: 60s, power-off: 500ms}
            inputs:
              - python: six==1.17.0
              - file: data.csv
            tasks:
              - id: install
                run: pip install six
                timeout: 2min
                limits: {memory: 256MiB, cpu: 60s}
                env: {A: "it's"}
              - id: import
                needs: [install]
                run: python3 -c 'import six'
                artifacts: ["/tmp/out/*"]
            """)
        let recipe = try Recipe(file: file)
        #expect(recipe.name == "six")
        #expect(recipe.machine == MachineShape(cpus: 2, memory: .gib(1)))
        #expect(recipe.hypervisor.prefer == ["a", "b"])
        #expect(recipe.hypervisor.options == ["a": ["uri": "x:///y"]])
        #expect(recipe.disk.prefer == ["c"])
        #expect(recipe.deadlines == [.boot: .seconds(60), .powerOff: .milliseconds(500)])
        #expect(recipe.inputs == [.python("six==1.17.0"), .file(folder.path.appending("data.csv"))])
        #expect(recipe.tasks[0].timeout == .seconds(120))
        #expect(recipe.tasks[0].memory == .mib(256))
        #expect(recipe.tasks[0].environment == ["A": "it's"])
        #expect(recipe.tasks[1].needs == ["install"])
        #expect(recipe.tasks[1].artifacts == ["/tmp/out/*"])
    }

    @Test("with unknown keys says what was meant, with the place of each")
    func unknownKeys() throws {
        let found = try problems(
            """
            imagee: x
            image: tiny
            machine: {cpu: 2}
            tasks:
              - id: a
                run: x
                neds: [b]
            """)
        #expect(
            found == [
                "1:1 unknown key 'imagee' in the recipe, did you mean 'image'?",
                "3:11 unknown key 'cpu' in machine, did you mean 'cpus'?",
                "7:5 unknown key 'neds' in a task, did you mean 'needs'?",
            ])
    }

    @Test(
        "with a bad value says the place and what is taken",
        arguments: [
            ("machine: {memory: lots}", "1:19 memory must be a size such as 512MiB or 2GiB"),
            ("machine: {cpus: 0}", "1:17 cpus must be a whole number from 1 to 256"),
            (
                "deadlines: {boot: 60}",
                "1:19 deadline 'boot' must be a time with its unit, such as 500ms, 60s, 10min or 2h"
            ),
            ("boot: hot", "1:7 boot must be one of cold, warm, not 'hot'"),
            ("inputs: [{python: \"git+https://x\"}]", "1:19 'git+https://x' is not a distribution such as six==1.17.0"),
            ("inputs: [{python: a, file: b}]", "1:10 an input has exactly one of python, source, file"),
        ])
    func badValue(line: String, message: String) throws {
        #expect(try problems("\(line)\nimage: tiny\ntasks: [{id: a, run: x}]\n") == [message])
    }

    @Test("that is no YAML has the parser's place")
    func noYAML() throws {
        #expect(try problems("image: tiny\ntasks: [\n").first?.hasPrefix("3:1 ") == true)
        #expect(try problems("") == ["1:1 the file is empty"])
    }

    @Test("whose tasks need unknown tasks, later tasks or each other is refused")
    func needs() throws {
        let found = try problems(
            """
            image: tiny
            tasks:
              - {id: first, run: x, needs: [frist]}
              - {id: second, run: x, needs: [third]}
              - {id: third, run: x}
              - {id: fourth, run: x, needs: [fifth]}
              - {id: fifth, run: x, needs: [fourth]}
              - {id: third, run: x}
            """)
        #expect(
            found == [
                "3:33 task 'first' needs an unknown task 'frist', did you mean 'first'?",
                "4:34 task 'second' stands before 'third', which it needs; move it below",
                "6:34 tasks need each other in a circle: fourth -> fifth -> fourth",
                "7:33 tasks need each other in a circle: fifth -> fourth -> fifth",
                "8:10 two tasks are called 'third'",
            ])
    }

    @Test("naming backends, images and files that do not exist is refused before anything is made")
    func check() throws {
        let file = try folder.write(
            "r.yaml",
            """
            image: tinny
            hypervisor: {prefer: [alpa]}
            inputs: [{file: nothing.csv}]
            tasks: [{id: a, run: x}]
            """)
        var registry = BackendRegistry()
        try registry.register(
            BackendDescriptor(name: "alpha", summary: "", factory: .hypervisor { _ in throw CancellationError() }))
        let check = RecipeCheck(registry: registry, images: ["tiny"])
        let found = check.diagnostics(try Recipe(file: file), Configuration(hypervisor: [], disk: []))
        #expect(
            found.map(\.message) == [
                "input \(folder.path)/nothing.csv does not exist",
                "unknown image 'tinny', did you mean 'tiny'?",
                "unknown hypervisor backend 'alpa', did you mean 'alpha'? known: alpha",
            ])
        #expect(found.map(\.place.line) == [3, 1, 2])
    }

    @Test("is stronger than the configuration's files, and those than the defaults")
    func layers() throws {
        let weak = try folder.write("user.yaml", "hypervisor: [user]\ndeadlines: {boot: 7s}\n")
        let strong = try folder.write("here.yaml", "deadlines: {boot: 8s, tasks: 9s}\n")
        let configuration = try Configuration(hypervisor: ["built-in"], disk: ["built-in"]).reading([
            weak, strong, folder.path.appending("missing.yaml"),
        ])
        #expect(configuration.hypervisor.prefer == ["user"])
        #expect(configuration.disk.prefer == ["built-in"])
        #expect(configuration.deadlines[.boot] == .seconds(8))
        #expect(configuration.deadlines[.tasks] == .seconds(9))
        #expect(BackendPreference(prefer: ["recipe"]).over(configuration.hypervisor).prefer == ["recipe"])
    }

    @Test(
        "names distributions, never addresses, paths or options",
        arguments: [
            ("six", true), ("six==1.17.0", true), ("requests[socks] >= 2, < 3", true), ("a_b.c~=1.0", true),
            ("-r file", false), ("./six", false), ("six @ https://x", false), ("six==", false), ("", false),
            ("six;os_name=='nt'", false), ("--index-url=x", false),
        ])
    func requirement(text: String, isGood: Bool) {
        #expect((Requirement(text) != nil) == isGood)
    }
}
