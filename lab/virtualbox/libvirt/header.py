#!/usr/bin/env python3
"""Rewrite libvirt's vbox_CAPI_v7_0.h so that its enums and vtables describe the VirtualBox whose typelib
(VirtualBox_XPCOM.xpt) is given.  usage: header.py VirtualBox_XPCOM.xpt [more.xpt] old.h new.h"""
import sys, struct, re
def load(fn):
    d=open(fn,'rb').read()
    assert d[:16]==b'XPCOM\nTypeLib\r\n\x1a', d[:16]
    nif,=struct.unpack('>H',d[18:20]); flen,diroff,pool=struct.unpack('>III',d[20:32])
    def s(off):
        p=pool+off-1; return d[p:d.index(b'\0',p)].decode()
    ifs=[]
    p=diroff-1
    for i in range(nif):
        iid=d[p:p+16]; n,ns,desc=struct.unpack('>III',d[p+16:p+28]); p+=28
        ifs.append(dict(iid=iid,name=s(n),desc=desc))
    def td(p):
        b=d[p]; p+=1; tag=b&0x1f; r=dict(tag=tag,fl=b&0xe0)
        if tag==18: r['iface']=struct.unpack('>H',d[p:p+2])[0]; p+=2
        elif tag==19: r['arg']=d[p]; p+=1
        elif tag==20:
            r['size']=d[p]; r['len']=d[p+1]; p+=2; r['el'],p=td(p)
        elif tag in(21,22): p+=2
        return r,p
    def par(p):
        fl=d[p]; t,p=td(p+1); t['pf']=fl; return t,p
    for f in ifs:
        if not f['desc']: continue
        p=pool+f['desc']-1
        f['parent'],nm=struct.unpack('>HH',d[p:p+4]); p+=4
        f['methods']=[]
        for _ in range(nm):
            fl=d[p]; n,na=struct.unpack('>IB',d[p+1:p+6]); p+=6
            args=[]
            for a in range(na):
                t,p=par(p); args.append(t)
            res,p=par(p)
            f['methods'].append(dict(fl=fl,name=s(n),args=args))
        nc,=struct.unpack('>H',d[p:p+2]); p+=2; f['consts']=[]
        for _ in range(nc):
            n,=struct.unpack('>I',d[p:p+4]); p+=4; t,p=td(p)
            sz={0:1,1:2,2:4,3:8,4:1,5:2,6:4,7:8}[t['tag']]
            f['consts'].append((s(n),int.from_bytes(d[p:p+sz],'big',signed=False))); p+=sz
    return ifs
SC={0:'PRInt8',1:'PRInt16',2:'PRInt32',3:'PRInt64',4:'PRUint8',5:'PRUint16',6:'PRUint32',7:'PRUint64',8:'float',9:'double',10:'PRBool',11:'char',12:'PRUnichar',13:'void',14:'nsID *',16:'char *',17:'PRUnichar *',19:'void *',21:'char *',22:'PRUnichar *'}
ifs=[]; 
for fn in sys.argv[1:-2]:
    l=load(fn)
    for f in l: f['all']=l
    ifs+=[f for f in l if f['desc']]
have={f['name']:f for f in ifs}
cap=lambda n:n[0].upper()+n[1:]
def ctype(f,t):
    if t['tag']==18:
        n=f['all'][t['iface']-1]['name']; return n+' *'
    if t['tag']==13: return 'void *'
    return SC[t['tag']]
def proto(f,m):
    a=['%s *pThis'%f['name']]
    n=m['name']
    attr=m['fl']&0xC0
    for i,t in enumerate(m['args']):
        out=t['pf']&0x40
        if t["tag"]==20:
            c=ctype(f,t['el']); a.append('%s*%sa%d'%(c+' ' if not c.endswith('*') else c, '*' if out else '',i))
        else:
            c=ctype(f,t); a.append('%s%sa%d'%(c if c.endswith('*') else c+' ', '*' if out else '',i))
    pre='Get' if m['fl']&0x80 else 'Set' if m['fl']&0x40 else ''
    return '    nsresult (*%s)(%s);'%(pre+cap(n),', '.join(a))
def iid(f):
    b=f['iid']; a,c,e=struct.unpack('>IHH',b[:8]); h=b[8:]
    u=f['name'].upper()
    st='%08x-%04x-%04x-%s-%s'%(a,c,e,h[:2].hex(),h[2:].hex())
    return '#   define %s_IID_STR "%s"\n#   define %s_IID { \\\n    0x%08x, 0x%04x, 0x%04x, \\\n    { %s } \\\n}\n'%(u,st,u,a,c,e,', '.join('0x%02x'%x for x in h))
def gen_iface(f):
    par=f['all'][f['parent']-1]['name']
    base='nsisupports' if par=='nsISupports' else par[0].lower()+par[1:] if not par.startswith('I') else par.lower()
    o='/* Start of struct %s declaration */\n'%f['name']+iid(f)+'VBOX_EXTERN_CONST(nsIID, IID_%s);\n'%f['name']
    o+='struct %s_vtbl\n{\n    struct %s_vtbl %s;\n'%(f['name'],par,base)
    o+='\n'.join(proto(f,m) for m in f['methods'])+'\n};\n'
    o+='interface %s\n{\n    struct %s_vtbl *vtbl;\n};\n/* End of struct %s declaration */\n'%(f['name'],f['name'],f['name'])
    return o
def gen_enum(f):
    n=f['name']
    return '/* Start of enum %s declaration */\n'%n+iid(f)+'typedef enum %s\n{\n'%n+',\n'.join('    %s_%s = %d'%(n,re.sub('^'+n+'_','',c),v) for c,v in f['consts'])+'\n} %s;\n#   define %s_T PRUint32\n/* End of enum %s declaration */\n'%(n,n,n)
old=open(sys.argv[-2]).read()
enums=[f for f in ifs if f['consts'] and not f['methods']]
faces=[f for f in ifs if not(f['consts'] and not f['methods']) and f['name'].startswith('I')]
# order faces: parents first
done=[];names=set()
def add(f):
    if f['name'] in names: return
    p=f['all'][f['parent']-1]['name'] if f['parent'] else None
    if p in have and p!='nsISupports' and p.startswith('I'): add(have[p])
    names.add(f['name']); done.append(f)
for f in faces: add(f)
i0=old.index('/* Start of enum SettingsVersion'); lastend=old.rindex('/* End of struct'); i1=old.index('\n',lastend)+1
head,tail=old[:i0],old[i1:]
fwd=''.join('typedef interface %s %s;\n'%(f['name'],f['name']) for f in done if 'typedef interface %s %s;'%(f['name'],f['name']) not in head)
# interfaces of the old header that the new API no longer has stay as opaque, forward-declared types
open(sys.argv[-1],'w').write(head+fwd+'\n'.join(map(gen_enum,enums))+'\n'+'\n'.join(map(gen_iface,done))+tail)
print(len(enums),'enums',len(done),'interfaces; gone:',sorted(set(re.findall(r'Start of struct (\w+) decl',old))-names)[:60])
