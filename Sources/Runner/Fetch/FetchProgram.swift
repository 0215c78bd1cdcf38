/// The program that gets Python distributions for a guest: Python, because it lets pip resolve and reads pip's own settings.
///
/// - Wheels come by `pip download --only-binary=:all:` with the guest's tags; an audit hook lets pip start no process.
/// - What exists only as source comes by the index's simple API (PEP 503, PEP 691) and its SHA-256. Its dependencies are read
///   out of the archive (PEP 643, PEP 621, `egg-info/requires.txt`), and pip gets a stub wheel that carries them.
enum FetchProgram {
    /// The program's text. Its one argument is a file with a `FetchRequest`; it prints a `FetchAnswer`.
    static let text = #"""
        import email.parser, hashlib, html.parser, io, json, os, re, ssl, subprocess, sys, tarfile, zipfile
        import urllib.error, urllib.parse, urllib.request

        try:
            from packaging import markers, requirements, specifiers, utils, version
        except ImportError:
            from pip._vendor.packaging import markers, requirements, specifiers, utils, version

        # pip may start no process: so nothing that it downloads can run here, whatever its metadata say.
        GUARD = """
        import runpy, sys
        def hook(event, arguments):
            if event in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "os.system", "os.spawn"):
                raise PermissionError("no process may be started while inputs are fetched")
        sys.addaudithook(hook)
        sys.argv[0] = "pip"
        runpy.run_module("pip", run_name="__main__")
        """


        class Refused(Exception):
            def __init__(self, code, message):
                super().__init__(message)
                self.code = code


        def pip(arguments):
            # What the user's environment says of the index stays; what would let source archives in does not.
            drop = ("PIP_NO_BINARY", "PIP_REQUIRE_VIRTUALENV", "PIP_QUIET", "PIP_VERBOSE", "PIP_LOG")
            environment = {name: value for name, value in os.environ.items() if name not in drop}
            environment.update(PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1", PIP_NO_COLOR="1", PIP_PROGRESS_BAR="off")
            return subprocess.run(
                [sys.executable, "-c", GUARD, *arguments], env=environment, text=True, errors="replace",
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


        class Index:
            def __init__(self):
                answer = pip(["config", "list"])
                if answer.returncode != 0:
                    raise Refused("unavailable", "pip does not work on this host, install python3-pip: "
                                  + answer.stdout.strip().split("\n")[-1])
                settings = dict(re.findall(r"^(?:global|download|:env:)\.([a-z-]+)='(.*)'$", answer.stdout, re.M))
                self.url = settings.get("index-url")
                if not self.url:
                    from pip._internal.models.index import PyPI
                    self.url = PyPI.simple_url
                self.context = ssl.create_default_context(cafile=settings.get("cert"))
                self.projects = {}

            def get(self, url, accept="*/*", limit=512 << 20):
                parts = urllib.parse.urlsplit(url)
                request = urllib.request.Request(url, headers={"Accept": accept, "User-Agent": "anyvisor"})
                if parts.username:
                    import base64
                    login = urllib.parse.unquote(parts.username) + ":" + urllib.parse.unquote(parts.password or "")
                    host = parts.hostname + (":%d" % parts.port if parts.port else "")
                    request = urllib.request.Request(parts._replace(netloc=host).geturl(), headers=dict(request.headers))
                    request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
                try:
                    with urllib.request.urlopen(request, context=self.context, timeout=60) as answer:
                        body = answer.read(limit + 1)
                        if len(body) > limit:
                            raise Refused("unsupported", "%s is larger than %d bytes" % (parts.path, limit))
                        return body, answer.headers.get_content_type(), answer.url
                except urllib.error.HTTPError as error:
                    if error.code in (404, 410):
                        return None
                    code = "temporary" if error.code >= 500 or error.code == 429 else "unavailable"
                    raise Refused(code, "the package index answers %d for %s" % (error.code, parts.path))
                except (urllib.error.URLError, OSError) as error:
                    raise Refused("temporary", "the package index cannot be reached: %s" % getattr(error, "reason", error))

            def files(self, name):
                """The files of a project: dictionaries of filename, url, sha256, python, yanked; None for an unknown one."""
                name = utils.canonicalize_name(name)
                if name not in self.projects:
                    accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.1"
                    answer = self.get("%s/%s/" % (self.url.rstrip("/"), name), accept, 64 << 20)
                    self.projects[name] = None if answer is None else self.parse(*answer)
                return self.projects[name]

            def parse(self, body, kind, base):
                if kind.endswith("json"):
                    return [dict(filename=f["filename"], url=urllib.parse.urljoin(base, f["url"]),
                                 sha256=f["hashes"].get("sha256"), python=f.get("requires-python"),
                                 yanked=bool(f.get("yanked"))) for f in json.loads(body)["files"]]
                found = []

                class Links(html.parser.HTMLParser):
                    def handle_starttag(self, tag, attributes):
                        attributes = dict(attributes)
                        if tag == "a" and attributes.get("href"):
                            url, _, fragment = urllib.parse.urljoin(base, attributes["href"]).partition("#")
                            hashed = re.match("sha256=([0-9a-f]{64})", fragment)
                            found.append(dict(filename=urllib.parse.unquote(url.rsplit("/", 1)[-1]), url=url,
                                              sha256=hashed and hashed[1], python=attributes.get("data-requires-python"),
                                              yanked="data-yanked" in attributes))
                Links().feed(body.decode("utf-8", "replace"))
                return found


        class Fetch:
            def __init__(self, request):
                self.python = request["python"]
                self.dest = request["dest"]
                self.stubs = request["stubs"]
                self.index = Index()
                self.built = {}
                minor = self.python["version"]
                self.environment = dict(
                    implementation_name="cpython", implementation_version=minor + ".0", os_name="posix", sys_platform="linux",
                    platform_machine=os.uname().machine, platform_python_implementation="CPython", platform_release="",
                    platform_system="Linux", platform_version="", python_full_version=minor + ".0", python_version=minor,
                    extra="")

            def fits(self, limit):
                try:
                    return not limit or specifiers.SpecifierSet(limit).contains(self.python["version"] + ".99")
                except specifiers.InvalidSpecifier:
                    return True

            def source(self, wish):
                """Downloads the newest source archive that fits and gives its name, version and bytes; nothing of it runs."""
                files = self.index.files(wish.name)
                if files is None:
                    raise Refused("notFound", "distribution '%s' does not exist in the package index" % wish.name)
                versions, sources = set(), {}
                for file in files:
                    try:
                        if file["filename"].endswith(".whl"):
                            versions.add(utils.parse_wheel_filename(file["filename"])[1])
                            continue
                        number = utils.parse_sdist_filename(file["filename"])[1]
                    except (utils.InvalidSdistFilename, utils.InvalidWheelFilename, version.InvalidVersion):
                        continue
                    versions.add(number)
                    pinned = any(limit.operator in ("==", "===") for limit in wish.specifier)
                    if (not file["yanked"] or pinned) and self.fits(file["python"]):
                        # A tar archive rather than a zip of the same version.
                        if number not in sources or file["filename"].endswith(".tar.gz"):
                            sources[number] = file
                if not list(wish.specifier.filter(versions)) and not list(wish.specifier.filter(versions, prereleases=True)):
                    last = ", ".join(str(number) for number in sorted(versions)[-5:]) or "none"
                    raise Refused("unsatisfiable", "no version of '%s' fits '%s', the newest are: %s"
                                  % (wish.name, wish, last))
                fitting = sorted(wish.specifier.filter(sources))
                if not fitting:
                    raise Refused("unsatisfiable", "'%s' has neither a wheel for Python %s on %s nor a source archive" % (
                        wish, self.python["version"], "/".join(self.python["platforms"])))
                file = sources[fitting[-1]]
                if not file["sha256"]:
                    raise Refused("unsupported", "the package index gives no SHA-256 of %s" % file["filename"])
                answer = self.index.get(file["url"])
                if answer is None:
                    raise Refused("unavailable", "the package index has lost %s" % file["filename"])
                if hashlib.sha256(answer[0]).hexdigest() != file["sha256"]:
                    raise Refused("corrupt", "%s does not have the SHA-256 that the package index names" % file["filename"])
                name = os.path.basename(file["filename"])
                with open(os.path.join(self.dest, name), "wb") as out:
                    out.write(answer[0])
                return name, fitting[-1], answer[0]

            def wheels(self, wishes, needed_by=None):
                """Lets pip resolve; what exists only as source goes in as a stub wheel that carries its dependencies."""
                for _ in range(64):
                    arguments = ["download", "--only-binary=:all:", "--dest", self.dest, "--find-links", self.stubs,
                                 "--python-version", self.python["version"], "--implementation", "cp"]
                    for abi in (self.python["abi"], "abi3", "none"):
                        arguments += ["--abi", abi]
                    for platform in self.python["platforms"]:
                        arguments += ["--platform", platform]
                    answer = pip(arguments + ["--"] + wishes)
                    if answer.returncode == 0:
                        return
                    self.explain(answer.stdout, needed_by)
                raise Refused("unsupported", "more than 64 distributions of '%s' exist only as source" % " ".join(wishes))

            def explain(self, text, needed_by):
                missing = re.findall(r"No matching distribution found for ([^\n]+)", text)
                if re.search("No space left on device", text):
                    raise Refused("noSpace", "no space is left on this host for the inputs")
                if "no process may be started" in text:
                    raise Refused("unsupported", "a dependency names an address instead of a distribution, which is refused: "
                                  + text.strip().split("\n")[-1])
                if not missing:
                    if "ResolutionImpossible" in text or "conflicting dependencies" in text:
                        lines = re.findall(r"^ +(.+(?:depends on|requested).+)$", text, re.M)
                        raise Refused("unsatisfiable", "the inputs contradict each other: " + "; ".join(lines[:6]))
                    errors = re.findall(r"^ERROR: (.+)$", text, re.M)
                    trouble = re.search("Connection|Max retries|timed out|ReadTimeout|50[0-9] Server Error", text)
                    raise Refused("temporary" if trouble else "unsatisfiable",
                                  "pip failed: " + (errors[-1] if errors else text.strip().split("\n")[-1]))
                wish = requirements.Requirement(missing[0].split(" (from ")[0].strip())
                name, number, content = self.source(wish)
                if needed_by:
                    os.unlink(os.path.join(self.dest, name))
                    raise Refused("unsupported", "'%s', needed to build '%s', exists only as source" % (wish, needed_by))
                if name in self.built:
                    raise Refused("unsatisfiable", "'%s' cannot be had for Python %s" % (wish, self.python["version"]))
                archive = Archive(name, content)
                self.built[name] = dict(name=wish.name, version=str(number), build=archive.build_requirements())
                self.stub(wish.name, number, archive.dependencies())

            def stub(self, name, number, dependencies):
                for line in dependencies:
                    if requirements.Requirement(line).url:
                        raise Refused("unsupported", "'%s' depends on an address, which is refused: %s" % (name, line))
                base = "%s-%s" % (re.sub("[-_.]+", "_", name).lower(), number)
                extras = {extra for line in dependencies for extra in re.findall(r"extra *== *[\"']([^\"']+)", line)}
                metadata = ["Metadata-Version: 2.1", "Name: " + name, "Version: %s" % number]
                metadata += ["Provides-Extra: " + extra for extra in sorted(extras)]
                metadata += ["Requires-Dist: " + line for line in dependencies]
                with zipfile.ZipFile(os.path.join(self.stubs, base + "-py3-none-any.whl"), "w") as wheel:
                    wheel.writestr(base + ".dist-info/METADATA", "\n".join(metadata) + "\n")
                    wheel.writestr(base + ".dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
                    wheel.writestr(base + ".dist-info/RECORD", "")

            def tools(self):
                """Wheels of what the guest needs to build the source archives."""
                for entry in list(self.built.values()):
                    wanted = []
                    for line in entry["build"]:
                        wish = requirements.Requirement(line)
                        if wish.url:
                            raise Refused("unsupported", "'%s' is built with an address: %s" % (entry["name"], line))
                        if wish.marker is None or wish.marker.evaluate(self.environment):
                            wish.marker = None
                            wanted.append(str(wish))
                    if wanted:
                        self.wheels(wanted, needed_by=entry["name"])

            def run(self, request):
                for text in request["sources"]:
                    self.source(requirements.Requirement(text))
                if request["requirements"]:
                    self.wheels(request["requirements"])
                    self.tools()
                for name in os.listdir(self.stubs):
                    path = os.path.join(self.dest, name)
                    if os.path.exists(path):
                        os.unlink(path)
                return dict(files=sorted(os.listdir(self.dest)), source_only=sorted(self.built))


        class Archive:
            """Reads metadata out of a source archive without unpacking it."""

            def __init__(self, name, content):
                self.name = name
                self.texts = {}
                try:
                    if name.endswith(".zip"):
                        with zipfile.ZipFile(io.BytesIO(content)) as archive:
                            for entry in archive.infolist():
                                if self.wanted(entry.filename) and entry.file_size < 1 << 20:
                                    self.keep(entry.filename, archive.read(entry))
                    else:
                        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                            for entry in archive:
                                if entry.isfile() and self.wanted(entry.name) and entry.size < 1 << 20:
                                    self.keep(entry.name, archive.extractfile(entry).read())
                except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
                    raise Refused("corrupt", "%s cannot be read: %s" % (name, error))

            @staticmethod
            def wanted(path):
                parts = path.split("/")
                return (len(parts) == 2 and parts[1] in ("PKG-INFO", "pyproject.toml", "setup.py", "setup.cfg")
                        or parts[-2:-1] and parts[-2].endswith(".egg-info") and parts[-1] in ("requires.txt", "PKG-INFO"))

            def keep(self, path, content):
                parts = path.split("/")
                key = "egg-info/" + parts[-1] if parts[-2].endswith(".egg-info") else parts[-1]
                self.texts.setdefault(key, content.decode("utf-8", "replace"))

            def project(self):
                try:
                    import tomllib
                except ImportError:
                    return {}
                try:
                    return tomllib.loads(self.texts.get("pyproject.toml", ""))
                except tomllib.TOMLDecodeError:
                    return {}

            def build_requirements(self):
                return self.project().get("build-system", {}).get("requires") or ["setuptools>=40.8.0", "wheel"]

            def dependencies(self):
                info = email.parser.HeaderParser().parsestr(self.texts.get("PKG-INFO", ""))
                stated = info.get_all("Requires-Dist") or []
                dynamic = [field.lower() for field in info.get_all("Dynamic") or []]
                if info.get("Metadata-Version", "0") >= "2.2" and "requires-dist" not in dynamic:
                    return stated
                if "egg-info/requires.txt" in self.texts:
                    return self.sections(self.texts["egg-info/requires.txt"])
                if stated or "egg-info/PKG-INFO" in self.texts:
                    return stated
                project = self.project().get("project", {})
                if project and "dependencies" not in project.get("dynamic", []):
                    return project.get("dependencies", [])
                setup = self.texts.get("setup.py", "") + self.texts.get("setup.cfg", "")
                if re.search("install_requires|setup_requires", setup):
                    raise Refused("unsupported", "%s exists only as source and says its dependencies only to whoever runs its "
                                  "setup.py, which this host does not; list them as inputs" % self.name)
                return []

            @staticmethod
            def sections(text):
                found, extra, marker = [], "", ""
                for line in text.splitlines():
                    line = line.strip()
                    if line.startswith("["):
                        extra, _, marker = line.strip("[]").partition(":")
                    elif line and not line.startswith("#"):
                        limits = [part for part in ("(%s)" % marker if marker else "",
                                                    'extra == "%s"' % extra if extra else "") if part]
                        found.append(line + (" ; " + " and ".join(limits) if limits else ""))
                return found


        def main():
            request = json.load(open(sys.argv[1]))
            try:
                answer = Fetch(request).run(request)
            except Refused as refusal:
                answer = dict(code=refusal.code, message=str(refusal))
            except requirements.InvalidRequirement as error:
                answer = dict(code="unsupported", message="metadata of an input cannot be understood: %s" % error)
            json.dump(answer, sys.stdout)


        main()
        """#
}
