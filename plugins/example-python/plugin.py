#!/usr/bin/env python3
"""A disk backend for anyvisor: a plain folder plays the disk. docs/plugin-protocol.md has the language spoken here."""
import base64, ctypes, errno, fcntl, glob, json, os, shutil, stat, subprocess, sys, tempfile, threading
HELLO = {"protocol": [1, 1], "kind": "disk", "name": "example-python", "version": "1", "features": []}
FIXED = {"initialize.": {}, "disk.check": {"value": [{"subject": "python", "status": "good", "detail": sys.version}]},
         "disk.info": {"name": "example-python", "version": "1", "formats": ["folder"], "fileSystems": ["folder"],
                       "features": ["write", "hardLinks"]}}
KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFBLK: "blockDevice",
         stat.S_IFCHR: "characterDevice", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket"}
CODES = dict(ENOENT="notFound", ENOTDIR="notFound", EEXIST="alreadyExists", ENOTEMPTY="invalidArgument",
             EINVAL="invalidArgument", EAGAIN="inUse", ENOSPC="noSpace", EACCES="permissionDenied", EPERM="permissionDenied")
writing, cancelled, sessions = threading.Lock(), set(), {}  # ids of cancelled calls; sessions by their handles
ESCAPES = {0xDC00 + b: 0x10FF00 + b for b in range(128, 256)}  # how bytes that are not UTF-8 travel
def text(name): return name.decode("utf-8", "surrogateescape").translate(ESCAPES)
def raw(text): return text.translate({b: a for a, b in ESCAPES.items()}).encode("utf-8", "surrogateescape")
def refuse_if(wrong, code, message):
    if wrong: raise ValueError(code, message)
def describe(path):
    s = os.lstat(path)
    link = {"target": text(os.readlink(path))} if os.path.islink(path) else {}
    return {"kind": KINDS[stat.S_IFMT(s.st_mode)], "size": s.st_size, "mode": stat.S_IMODE(s.st_mode), "uid": s.st_uid,
            "gid": s.st_gid, "modifiedNanoseconds": s.st_mtime_ns, "links": s.st_nlink, **link}
def change(path, mode=None, uid=None, gid=None, modifiedNanoseconds=None):
    if mode is None: mode = stat.S_IMODE(os.lstat(path).st_mode)  # a change of owner takes the setuid bit away
    if os.geteuid() == 0: os.chown(path, -1 if uid is None else uid, -1 if gid is None else gid, follow_symlinks=False)
    if not os.path.islink(path): os.chmod(path, mode)
    if modifiedNanoseconds is not None: os.utime(path, ns=(modifiedNanoseconds,) * 2, follow_symlinks=False)
def copy(call, a, b, report, limits=None, owner={}, path="", depth=0):  # never follows a link
    s, kind, identity = describe(a), describe(a)["kind"], (os.lstat(a).st_dev, os.lstat(a).st_ino)
    size, odd = s["size"] * (kind == "file"), kind not in ("file", "directory") and (limits or kind != "symlink")
    if odd or limits and (depth > limits["depth"] or limits["files"] < 1 or limits["bytes"] < size):
        return report["refused"].append({"path": path or ".", "reason": kind if odd else "more than the limits allow"})
    if limits: limits.update(files=limits["files"] - 1, bytes=limits["bytes"] - size)
    there = describe(b)["kind"] if os.path.lexists(b) else None
    refuse_if(there and "directory" in (kind, there) and kind != there, "invalidArgument", f"a {there} is at {text(b)}")
    if there not in (None, "directory"): os.unlink(b)
    if kind == "directory":
        if not there: os.mkdir(b, 0o700)
        for name in sorted(os.listdir(a)):
            copy(call, a + b"/" + name, b + b"/" + name, report, limits, owner, os.path.join(path, text(name)), depth + 1)
    elif kind == "symlink": os.symlink(os.readlink(a), b)
    elif report["links"].setdefault(identity, b) != b and not limits: os.link(report["links"][identity], b)
    else:
        with open(a, "rb") as file, open(b, "xb") as new:
            while data := file.read(1 << 20):
                refuse_if(call in cancelled, "cancelled", "cancelled by the caller")
                report["bytes"] += new.write(data)
                send(method="$/progress", params={"id": call, "progress": {k: report[k] for k in ("bytes", "files")}})
    report["files"] += kind == "file"
    if limits: os.chmod(b, 0o755 if kind == "directory" or s["mode"] & 0o111 else 0o644)
    else: change(b, s["mode"], owner.get("uid", s["uid"]), owner.get("gid", s["gid"]), s["modifiedNanoseconds"])
def reported(call, a, b, **options):
    copy(call, a, b, report := {"bytes": 0, "files": 0, "refused": [], "links": {}}, **options)
    return {**report, "links": None, "refused": report["refused"][:1000], "refusedCount": len(report["refused"])}
class Session:
    """A folder under a lock. A writer works on a copy beside it, and commit lets the two change places in one step."""
    def __init__(self, path, writes):
        self.path = self.root = os.path.realpath(os.fsencode(path))
        self.writes, self.lock = writes, self.hold(self.path, fcntl.LOCK_EX if writes else fcntl.LOCK_SH)
        if writes: self.stage()
    def hold(self, path, how=fcntl.LOCK_EX):
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try: fcntl.flock(handle, how | fcntl.LOCK_NB)
        except OSError: refuse_if(not os.close(handle), "inUse", f"{text(path)} is open elsewhere")
        return handle
    def stage(self):
        for dead in glob.glob(glob.escape(self.path) + b".stage-*"): shutil.rmtree(dead)  # the image's lock is ours
        self.root = tempfile.mkdtemp(prefix=os.path.basename(self.path) + b".stage-", dir=os.path.dirname(self.path))
        self.next = self.hold(self.root)
        subprocess.run(["cp", "-a", "-T", "--", self.path, self.root], check=True, stdin=subprocess.DEVNULL, stdout=2)
    def commit(self):
        refuse_if(not self.writes, "invalidState", "the session is read-only")
        os.sync()
        exchange = ctypes.CDLL(None).renameat2  # with RENAME_EXCHANGE, 2: at no moment is there no folder
        refuse_if(exchange(-100, self.path, -100, self.root, 2), "unsupported", "this file system exchanges no folders")
        os.sync()
        self.lock = os.close(self.lock) or self.next
        self.stage()
    def close(self):
        if self.lock and self.writes: shutil.rmtree(self.root) or os.close(self.next)
        self.lock = os.close(self.lock) if self.lock else None
    def at(self, path):  # a link in the middle may not lead out of the folder; one at the end is not followed
        folder = os.path.realpath(os.path.dirname(self.root + raw(path)))
        refuse_if((folder + b"/").find(self.root + b"/") != 0, "notFound", f"{path} leads out of the folder")
        return os.path.join(folder, os.path.basename(raw(path))).rstrip(b"/")
def copy_out(call, source, target, policy):
    refuse_if(os.path.lexists(target), "alreadyExists", f"{target} exists")
    with tempfile.TemporaryDirectory(prefix=".anyvisor-part-", dir=os.path.dirname(target)) as folder:
        report = reported(call, source, os.fsencode(folder) + b"/x", limits="untrusted" in policy and policy["untrusted"])
        if os.path.lexists(folder + "/x"): os.rename(folder + "/x", target)
    return report
def write(call, s, verb, p, path, new):
    tree = os.path.isdir(path) and not os.path.islink(path)
    refuse_if(path == s.root and verb in ("remove", "rename"), "invalidArgument", "the root stays where it is")
    taken = new and new != path and os.path.lexists(path) and os.path.isdir(new) and not os.path.islink(new)
    refuse_if(taken, "invalidArgument" if taken and new.startswith(path + b"/") else "alreadyExists", "a folder is there")
    return {
        "copyIn": lambda: reported(call, os.fsencode(p["host"]), path, owner=p["options"]),
        "makeDirectory": lambda: os.makedirs(path, 0o755, exist_ok=True) if p["parents"] else os.mkdir(path, 0o755),
        "remove": lambda: (shutil.rmtree if tree and p["recursive"] else os.rmdir if tree else os.unlink)(path),
        "rename": lambda: os.rename(path, new),
        "symlink": lambda: os.symlink(raw(p["target"]), path),
        "setMetadata": lambda: change(path, **p["change"])}[verb]() or {}
def answer(call, thing, verb, p):
    if f"{thing}.{verb}" in FIXED: return FIXED[f"{thing}.{verb}"]
    fits = "image" in p and p["image"]["format"] == "folder"
    if verb == "probe": return {"score": 100 * (fits and os.path.isdir(p["image"]["path"])), "reason": "it takes folders"}
    if verb == "open":
        refuse_if(not fits, "unsupported", "it takes only folders")
        return sessions.update({f"s{call}": Session(p["image"]["path"], p["mode"] == "readWrite")}) or {"handle": f"s{call}"}
    refuse_if(p["handle"] not in sessions, "notFound", "no such handle, open the image again")
    s = sessions[p["handle"]]
    refuse_if(s.lock is None and verb != "close", "invalidState", "the session is closed")
    if verb in ("commit", "close"): return getattr(s, verb)() or {}
    if verb == "volumes": return {"value": [{"id": "whole", "offset": 0, "size": 0, "fileSystem": "folder"}]}
    refuse_if(p.get("volume", "whole") != "whole", "notFound", f"a folder has no volume {p.get('volume')}")
    if verb == "filesystem": return {"handle": p["handle"], "facets": ["write"] * s.writes}
    path = s.at(p["path"])
    if thing == "writable" and s.writes: return write(call, s, verb, p, path, "newPath" in p and s.at(p["newPath"]))
    if verb == "stat": return describe(path)
    if verb == "copyOut": return copy_out(call, path, p["host"], p["policy"])
    wanted, kind = {"list": "directory", "read": "file"}.get(verb), describe(path)["kind"]
    refuse_if(kind != wanted, "invalidArgument" if wanted else "unsupported", f"no {thing}.{verb} of a {kind}")
    if verb == "read":
        with open(path, "rb") as file: data = os.pread(file.fileno(), p["count"], p["offset"])
        return {"value": base64.b64encode(data).decode()}
    names = [name for name in sorted(os.listdir(path)) if name > raw(p.get("after", ""))]
    page = [{"name": text(name), "stat": describe(path + b"/" + name)} for name in names[:150]]  # fits a line at its longest
    return {"entries": page, **({"next": page[-1]["name"]} if len(names) > 150 else {})}
def send(**message):
    with writing: print(json.dumps({"jsonrpc": "2.0", **message}), file=wire, flush=True)
def serve(request):
    call, (thing, _, verb) = request["id"], request["method"].partition(".")
    try: send(id=call, result=answer(call, thing, verb, request["params"]))
    except Exception as e:
        code = CODES.get(errno.errorcode.get(getattr(e, "errno", None)), "internal")
        code, text = e.args if type(e) is ValueError and len(e.args) == 2 else (code, str(e))
        send(id=call, error={"code": -32000, "message": text, "data": {"code": code, "message": text}})

if "--describe" in sys.argv: sys.exit(print(json.dumps(HELLO)))
if "ANYVISOR_PLUGIN" not in os.environ: sys.exit(print(__doc__, file=sys.stderr) or 2)
wire = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever prints by itself does not reach the wire
print(json.dumps(HELLO), file=wire, flush=True)
for request in map(json.loads, sys.stdin):
    if request["method"] == "$/cancel": cancelled.add(request["params"]["id"])
    elif "id" in request: threading.Thread(target=serve, args=[request], daemon=True).start()
for session in list(sessions.values()): session.close()  # the end of the input: what was not committed has not happened
os._exit(0)
