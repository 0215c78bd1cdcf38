#!/usr/bin/env python3
"""A hypervisor of which nobody but the tests has ever heard. docs/plugin-protocol.md has the language spoken here."""
import base64
import json
import os
import signal
import subprocess
import sys
import threading

HELLO = {"protocol": [1, 1], "kind": "hypervisor", "name": "zzz", "version": "1", "features": []}
INFO = {"name": "zzz", "version": "1", "features": ["executesGuests", "console"], "diskFormats": ["raw"],
        "maximumCPUs": 8}

if "--describe" in sys.argv:
    sys.exit(print(json.dumps(HELLO)))
if "ANYVISOR_PLUGIN" not in os.environ:
    sys.exit("this is an anyvisor plugin")
wire = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
writing = threading.Lock()
machines = {}
options = {}


def send(**message):
    with writing:
        print(json.dumps({"jsonrpc": "2.0", **message}), file=wire, flush=True)


class Machine:
    def __init__(self, spec):
        self.spec, self.state, self.child = spec, "defined", None

    def become(self, state):
        if self.state not in (state, "gone"):
            self.state = state
            send(method="$/event", params={"handle": self.spec["id"],
                                           "event": "gone" if state == "gone" else {"state": state}})

    def start(self):
        console = open(self.spec["consoleLog"], "wb")
        disks = sorted(self.spec["disks"], key=lambda disk: disk["role"] == "io")
        self.child = subprocess.Popen([options["guest"]] + [disk["image"]["path"] for disk in disks], stdout=console,
                                      stdin=subprocess.DEVNULL)
        self.become("running")
        if options.get("die") == "running":
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGKILL)).start()
        threading.Thread(target=lambda: self.child.wait() is None or self.become("stopped")).start()

    def stop(self):
        if self.child:
            self.child.kill()
            self.child.wait()
            self.become("stopped")

    def console(self, offset, count):
        if not os.path.exists(self.spec["consoleLog"]):
            return b""
        with open(self.spec["consoleLog"], "rb") as file:
            return os.pread(file.fileno(), count, offset)


def answer(method, p):
    if options.get("die") == method:
        os.kill(os.getpid(), signal.SIGKILL)
    if method == "initialize":
        options.update(p["options"])
    elif method == "hypervisor.info":
        return INFO
    elif method == "hypervisor.check":
        return {"value": []}
    elif method == "hypervisor.create":
        spec = p["spec"]
        machines[spec["id"]] = Machine(spec)
        return {"handle": spec["id"], "id": spec["id"], "facets": ["console"]}
    elif method == "hypervisor.machines":
        return {"value": [{"id": name, "state": machine.state} for name, machine in sorted(machines.items())
                          if name.startswith(p["owner"])]}
    else:
        machine = machines[p["handle"]]
        if method == "machine.state":
            return {"value": machine.state}
        if method == "machine.start":
            machine.start()
        if method == "machine.stop":
            machine.stop()
        if method == "machine.destroy":
            machine.stop()
            machine.become("gone")
        if method == "console.read":
            return {"value": base64.b64encode(machine.console(p["offset"], p["count"])).decode()}
    return {}


print(json.dumps(HELLO), file=wire, flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request:
        continue
    try:
        send(id=request["id"], result=answer(request["method"], request["params"]))
    except Exception as error:
        send(id=request["id"], error={"code": -32000, "message": str(error),
                                      "data": {"code": "internal", "message": str(error)}})
for machine in machines.values():
    machine.stop()
