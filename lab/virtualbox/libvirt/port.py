#!/usr/bin/env python3
"""port.py DIR: adapt libvirt 11.3.0's vbox driver sources in DIR to the VirtualBox 7.2 API (see header.py for the header)."""
import re, sys
d=sys.argv[1]
p=d+'/vbox_tmpl.c'; s=open(p).read()
def sub(a,b,n=1):
    global s
    assert a in s, a
    s=s.replace(a,b)
sub('''                                            machineNameUtf16,
                                            0,
''','''                                            machineNameUtf16,
                                            PlatformArchitecture_x86,
                                            0,
''')
helpers='''
/* VirtualBox >= 7.1 moved platform specific properties into IPlatform. */
#define WITH_SUB(machine, getter, type, var, stmt) \\
    do { type *var = NULL; nsresult rc_ = machine->vtbl->getter(machine, &var); \\
         if (NS_FAILED(rc_)) return rc_; \\
         rc_ = stmt; VBOX_RELEASE(var); return rc_; } while (0)

static nsresult
_platX86Get(IMachine *machine, IPlatformX86 **x86)
{
    WITH_SUB(machine, GetPlatform, IPlatform, plat, plat->vtbl->GetX86(plat, x86));
}
'''
sub('static nsresult\n_virtualboxCreateMachine(', helpers+'\nstatic nsresult\n_virtualboxCreateMachine(')
sub('return machine->vtbl->GetBIOSSettings(machine, bios);','return machine->vtbl->GetFirmwareSettings(machine, (IFirmwareSettings **)bios);')
s=re.sub(r'return bios->vtbl->(\w+)\(bios, (\w+)\);', r'return ((IFirmwareSettings *)bios)->vtbl->\1((IFirmwareSettings *)bios, \2);', s)
sub('return machine->vtbl->GetChipsetType(machine, chipsetType);','WITH_SUB(machine, GetPlatform, IPlatform, plat, plat->vtbl->GetChipsetType(plat, chipsetType));')
for op in 'Get','Set':
    sub('return machine->vtbl->%sCPUProperty(machine, property, value);'%op,'IPlatformX86 *x86 = NULL;\n    nsresult rc = _platX86Get(machine, &x86);\n    if (NS_FAILED(rc))\n        return rc;\n    rc = x86->vtbl->%sCPUProperty(x86, property, value);\n    VBOX_RELEASE(x86);\n    return rc;'%op)
sub('return ga->vtbl->GetAccelerate3DEnabled(ga, accelerate3DEnabled);','return ga->vtbl->IsFeatureEnabled(ga, GraphicsFeature_Acceleration3D, accelerate3DEnabled);')
sub('return ga->vtbl->SetAccelerate3DEnabled(ga, accelerate3DEnabled);','return ga->vtbl->SetFeature(ga, GraphicsFeature_Acceleration3D, accelerate3DEnabled);')
sub('return ga->vtbl->GetAccelerate2DVideoEnabled(ga, accelerate2DVideoEnabled);','*accelerate2DVideoEnabled = PR_FALSE;\n    return NS_OK;')
sub('return ga->vtbl->SetAccelerate2DVideoEnabled(ga, accelerate2DVideoEnabled);','(void)accelerate2DVideoEnabled;\n    return NS_OK;')
s=re.sub(r'return systemProperties->vtbl->(GetMaxBootPosition|GetMaxNetworkAdapters|GetSerialPortCount|GetParallelPortCount|GetMaxPortCountForStorageBus|GetMaxDevicesPerPortForStorageBus)\(systemProperties,\s*([^;]*)\);',
  r'WITH_SUB(systemProperties, GetPlatform, IPlatformProperties, pp, pp->vtbl->\1(pp, \2));', s)
s=re.sub(r'(_serialPort[GS]etIOBase\(.*\n\{\n    return port->vtbl->[GS]et)IOBase', r'\1IOAddress', s)
s=s.replace('ISystemProperties *systemProperties, PRUint32 chipset','ISystemProperties *systemProperties, PRUint32 chipset')
# VirtualBox >= 7.1 built its XPCOM on IPRT threads: a thread that IPRT does not know cannot initialise it.
sub('static int _pfnInitialize(struct _vboxDriver *driver)\n{\n    nsresult rc;\n','''#include <dlfcn.h>
static void _adoptThread(void)
{
    static __thread bool done;
    void *rt;
    int (*adopt)(int, unsigned int, const char *, void **);
    void *t = NULL;
    if (done)
        return;
    done = true;
    rt = dlopen("/usr/lib/virtualbox/VBoxRT.so", RTLD_NOW | RTLD_NOLOAD);
    if (rt && (adopt = dlsym(rt, "RTThreadAdopt")))
        adopt(4 /* RTTHREADTYPE_DEFAULT */, 0, "libvirt", &t);
}

static int _pfnInitialize(struct _vboxDriver *driver)
{
    nsresult rc;

    _adoptThread();
''')
# A session with a plain write lock (no VM process) has a NULL console: take its machine instead.
import re as _re
m=_re.search(r'static nsresult\n_sessionGetConsole\(ISession \*session, IConsole \*\*console\)\n\{\n', s); assert m
s=s[:m.start()]+'static ISession *curSession;\n\n'+s[m.start():m.end()]+'    curSession = session;\n'+s[m.end():]
assert s.count('rc = console->vtbl->GetMachine(console, &machine);') >= 1
s=s.replace('rc = console->vtbl->GetMachine(console, &machine);','rc = console ? console->vtbl->GetMachine(console, &machine) : curSession->vtbl->GetMachine(curSession, &machine);')
i=s.index('_consoleTakeSnapshot(IConsole'); j=s.index('_sessionGetConsole(ISession')
if i<j: s=s.replace('static ISession *curSession;\n\n','',1); k=s.index('static nsresult\n_virtualboxCreateMachine'); s=s[:k]+'static ISession *curSession;\n\n'+s[k:]
# snapshots can only be restored through the locked session's machine
sub('rc = machine->vtbl->RestoreSnapshot(machine, snapshot, &progress);','''{
        IMachine *sm = NULL;
        rc = data->vboxSession->vtbl->GetMachine(data->vboxSession, &sm);
        if (NS_SUCCEEDED(rc))
            rc = sm->vtbl->RestoreSnapshot(sm, snapshot, &progress);
        VBOX_RELEASE(sm);
    }''')
# an empty environment change is refused
sub('sessionType, 1, envlist, progress);','sessionType, env ? 1 : 0, envlist, progress);')
open(p,'w').write(s)
# accept API 7.2 instead of 7.0
for f,a in (('vbox_common.h','uVersion >= 7000000 && uVersion < 7001000'),('vbox_storage.c','uVersion >= 7000000 && uVersion < 7000004')):
    p=d+'/'+f; t=open(p).read(); assert a in t, f
    open(p,'w').write(t.replace(a,'uVersion >= 7002000 && uVersion < 7003000'))
