// SPDX-License-Identifier: Apache-2.0
// A tree with everything in it that is hard to keep, and a program that says all about a tree.

/** `python3 describe.py DIR`: JSON of all that has to come back, one row per entry. */
export const DESCRIBE = `
import base64, hashlib, json, os, stat, sys
root = os.fsencode(sys.argv[1])
rows, links = [], {}
def text(name):
    return name.decode('utf-8', 'backslashreplace')
def digest(path):
    sum = hashlib.sha256()
    with open(path, 'rb') as f:
        for block in iter(lambda: f.read(1 << 20), b''):
            sum.update(block)
    return sum.hexdigest()
def entry(path):
    s = os.lstat(path)
    row = {'path': text(os.path.relpath(path, root)), 'mode': oct(s.st_mode), 'uid': s.st_uid,
           'gid': s.st_gid, 'mtime': s.st_mtime_ns}
    if stat.S_ISREG(s.st_mode):
        row['sha'] = digest(path)
        row['size'] = s.st_size
        if s.st_nlink > 1:
            links.setdefault(s.st_ino, []).append(row['path'])
    if stat.S_ISLNK(s.st_mode):
        row['target'] = text(os.readlink(path))
    else:
        names = os.listxattr(path)
        row['xattrs'] = {name: base64.b64encode(os.getxattr(path, name)).decode() for name in sorted(names)}
    rows.append(row)
for base, dirs, files in os.walk(root):
    entry(base)
    for name in files + [d for d in dirs if os.path.islink(os.path.join(base, d))]:
        entry(os.path.join(base, name))
rows.sort(key=lambda row: row['path'])
print(json.dumps({'rows': rows, 'links': sorted(sorted(group) for group in links.values())}))
`;

/** Attributes of the user, an access control list, a capability; of files and of directories. */
export const ATTRIBUTES = `
import os, struct, sys
os.chdir(sys.argv[1])
os.setxattr('plain', 'user.note', b'x\\0\\xff')
os.setxattr('plain', 'user.empty', b'')
os.setxattr('large', 'user.long', b'v' * 900)
os.setxattr('with space', 'user.of-a-directory', 'ünï'.encode())
acl = struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *e) for e in [
    (1, 6, 0xffffffff), (2, 4, 1000), (4, 4, 0xffffffff), (0x10, 4, 0xffffffff), (0x20, 4, 0xffffffff)])
os.setxattr('binary', 'system.posix_acl_access', acl)
os.setxattr('empty', 'system.posix_acl_default', acl)
os.setxattr('suid', 'security.capability', struct.pack('<IIIII', 0x02000001, 0x400, 0, 0, 0))
`;

/** Shell commands that make such a tree in `dir`; ATTRIBUTES lie in /tmp/attributes.py. */
export const makeTree = (dir) => `set -e; mkdir -p ${dir} && cd ${dir}
  mkdir -p empty/nested deep/a/b/c 'with space' 'ünï-漢'
  echo text > plain; printf 'a\\0b\\377' > binary; : > nothing
  head -c 3000000 /dev/urandom > large
  dd if=/dev/zero of=sparse bs=1 count=1 seek=1048575 status=none
  echo x > 'with space/a file'; echo y > 'ünï-漢/ƒ'; echo z > "$(printf 'new\\nline')"
  printf 'l\\n' > "$(printf 'latin\\351')"; echo q > 'q"uo\\te'
  echo secret > private; chmod 600 private; echo s > suid; echo r > readonly; chmod 444 readonly
  chmod 1777 empty; chmod 700 deep/a; chown 1000:1001 plain; chown 33:33 deep
  python3 /tmp/attributes.py .; chmod 4755 suid
  ln plain hard; ln -s plain soft; ln -s /nowhere dangling; ln -s ../tree loop; ln -s deep dirlink
  long=$(printf 'n%.0s' $(seq 1 200)); mkdir -p $long/$long; echo long > $long/$long/$long
  touch -d '2001-02-03 04:05:06.123456789' plain; touch -h -d '2002-03-04 05:06:07.5' soft
  mkfifo pipe; for i in $(seq 1 500); do echo $i > deep/a/b/c/$i; done
  touch -d '2030-01-01' binary; touch -d '1999-12-31' deep/a/b; touch -d '1969-12-31 23:59:58.25' nothing`;
