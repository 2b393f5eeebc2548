"""Becomes one container of a pod, as a container runtime makes it: groups, namespaces, a root of its own, a user without
capabilities, a seccomp profile, and then the program. What it is to be is a file of JSON, see pods.py."""

import ctypes
import json
import os
import resource
import signal
import socket
import sys

libc = ctypes.CDLL(None, use_errno=True)
NEWNS, NEWCGROUP, NEWPID = 0x00020000, 0x02000000, 0x20000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38


def call(name, *arguments):
    if getattr(libc, name)(*arguments) == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}{arguments}: {os.strerror(error)}")


def mount(source, target, kind, flags, data=None):
    as_bytes = [text.encode() if text else None for text in (source, target, kind)]
    call("mount", *as_bytes, ctypes.c_ulong(flags), data.encode() if data else None)


def bind(source, target, is_read_only):
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        open(target, "a", encoding="utf-8").close()
    mount(source, target, None, MS_BIND | MS_REC)
    if is_read_only:
        mount(None, target, None, MS_BIND | MS_REMOUNT | MS_RDONLY)


def make_root(spec):
    """A root of its own: the programs of this host for those of the image, and what a runtime puts there."""
    root = spec["root"]
    mount("tmpfs", root, "tmpfs", 0, "size=16m,mode=755")
    for name in ("etc", "proc", "sys", "dev", "tmp"):
        os.makedirs(f"{root}/{name}")
    os.chmod(f"{root}/tmp", 0o1777)
    bind("/usr", f"{root}/usr", True)
    for name in ("bin", "sbin", "lib", "lib64"):
        os.symlink(f"usr/{name}", f"{root}/{name}")
    bind(spec["programs"], f"{root}/usr/local/bin", True)
    for name, text in spec["files"].items():
        with open(root + name, "w", encoding="utf-8") as file:
            file.write(text)
    mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV)
    bind(f"{root}/proc/sys", f"{root}/proc/sys", True)
    mount("sysfs", f"{root}/sys", "sysfs", MS_RDONLY)
    if spec["groups"]["version"] == 2:
        mount("cgroup2", f"{root}/sys/fs/cgroup", "cgroup2", MS_RDONLY)
    else:
        mount("tmpfs", f"{root}/sys/fs/cgroup", "tmpfs", 0, "mode=755")
        for controller in spec["groups"]["paths"]:
            os.makedirs(f"{root}/sys/fs/cgroup/{controller}")
            mount("cgroup", f"{root}/sys/fs/cgroup/{controller}", "cgroup", MS_RDONLY, controller)
    for device in ("null", "zero", "full", "random", "urandom"):
        bind(f"/dev/{device}", f"{root}/dev/{device}", False)
    for volume in spec["volumes"]:
        bind(volume["from"], root + volume["to"], volume["is_read_only"])
    if spec["is_root_read_only"]:
        mount(None, root, None, MS_BIND | MS_REMOUNT | MS_RDONLY)
    os.chroot(root)
    os.chdir("/")


class Comparison(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def filter_calls(profile):
    """The profile, as runc gives it to libseccomp."""
    lib = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    lib.seccomp_init.restype = ctypes.c_void_p
    actions = {"SCMP_ACT_ALLOW": 0x7FFF0000, "SCMP_ACT_ERRNO": 0x00050000}
    operations = ["_", "NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"]

    def action(name, number):
        return ctypes.c_uint32(actions[name] | (number if name == "SCMP_ACT_ERRNO" else 0))

    def must(outcome, what):
        # -EEXIST: an architecture that is there.
        if outcome not in (0, -17):
            raise OSError(-outcome, f"seccomp: {what}: {os.strerror(-outcome)}")

    default = profile.get("defaultErrnoRet", 1)
    context = ctypes.c_void_p(lib.seccomp_init(action(profile["defaultAction"], default)))
    for name in profile["architectures"]:
        token = lib.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())
        # Machines of another byte order or family are not in one filter with this one; runc passes over those.
        if "ARM" not in name and "AARCH" not in name or os.uname().machine == "aarch64":
            must(lib.seccomp_arch_add(context, ctypes.c_uint32(token)), name)
    for rule in profile["syscalls"]:
        comparisons = [
            Comparison(arg["index"], operations.index(arg["op"].removeprefix("SCMP_CMP_")), arg["value"], arg.get("valueTwo", 0))
            for arg in rule.get("args", [])
        ]
        array = (Comparison * len(comparisons))(*comparisons)
        done = action(rule["action"], rule.get("errnoRet", 1))
        if done.value == action(profile["defaultAction"], default).value:
            continue
        for name in rule["names"]:
            number = lib.seccomp_syscall_resolve_name(name.encode())
            if number == -1:
                continue  # newer than this library, or of another machine
            must(lib.seccomp_rule_add_array(context, done, number, len(comparisons), array), name)
    must(lib.seccomp_attr_set(context, 3, 0), "no_new_privs is set by hand, as the manifest says")
    must(lib.seccomp_load(context), "load")


def enter(spec):
    socket.sethostname(spec["hostname"])
    make_root(spec)
    for name, value in spec["limits"].items():
        which = getattr(resource, name)
        hard = resource.getrlimit(which)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))
    last = int(open("/proc/sys/kernel/cap_last_cap", encoding="utf-8").read())
    for capability in range(last + 1) if spec["drops_all"] else ():
        call("prctl", PR_CAPBSET_DROP, capability, 0, 0, 0)
    if not spec["may_gain"]:
        call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.setgroups(spec["supplementary"])
    os.setresgid(*[spec["gid"]] * 3)
    os.setresuid(*[spec["uid"]] * 3)
    if spec["profile"]:
        filter_calls(spec["profile"])
    # Not by os.execvpe, which imports: this interpreter's own files are out of reach by now.
    for folder in spec["env"]["PATH"].split(":"):
        try:
            os.execve(f"{folder}/{spec['argv'][0]}", spec["argv"], spec["env"])
        except FileNotFoundError:
            continue
    os._exit(127)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        spec = json.load(file)
    for path in spec["groups"]["paths"].values():
        with open(f"{path}/cgroup.procs", "w", encoding="utf-8") as file:
            file.write(str(os.getpid()))
    for kind in ("net", "uts", "ipc"):
        file = os.open(f"/proc/{spec['sandbox']}/ns/{kind}", os.O_RDONLY)
        call("setns", file, 0)
        os.close(file)
    call("unshare", NEWNS | NEWPID | NEWCGROUP)
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    child = os.fork()
    if child == 0:
        enter(spec)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: os.kill(child, number))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


main()
