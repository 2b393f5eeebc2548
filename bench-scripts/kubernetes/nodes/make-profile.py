#!/usr/bin/env python3
"""Makes the seccomp profile of megaconn's pods: what a container without capabilities may do by default, and io_uring.

usage: make-profile.py DEFAULT.json > megaconn-io-uring.json

DEFAULT.json is the default profile of containers in the form of Docker, Podman and CRI-O, whose rules say for which
capabilities, machines and kernels they are: Debian's golang-github-containers-common has one as
/usr/share/containers/seccomp.json (Apache-2.0), which is what the profile here was made of. Kubernetes hands a profile to the runtime as it is, and containerd and runc
read rules alone: conditions would be passed over and everything allowed. So they are decided here, for x86-64 and arm64,
Linux 6.1 and no capabilities, and the outcome has none.
"""

import json
import sys

IO_URING = ["io_uring_enter", "io_uring_register", "io_uring_setup"]
MACHINES = {"amd64": "SCMP_ARCH_X86_64", "arm64": "SCMP_ARCH_AARCH64"}
KERNEL = (6, 1)

# Podman's profile leaves these to containers without capabilities, for containers in containers. containerd's and Docker's
# do not, and neither does this one: pods have no use of them.
WITHHELD = """
    fsconfig fsmount fsopen fspick keyctl mount mount_setattr move_mount open_tree pidfd_getfd pivot_root
    process_vm_readv process_vm_writev ptrace reboot setns syslog umount umount2 unshare
""".split()
EPERM, ENOSYS = 1, 38

# Flags of clone(2) that make namespaces. Those of clone3(2) stand in memory, where no filter looks: libc uses clone(2) then.
NEW_NAMESPACES = 0x7E02_0000
CLONE = [
    {
        "names": ["clone"],
        "action": "SCMP_ACT_ALLOW",
        "args": [{"index": 0, "value": NEW_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
    },
    {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS},
]


def kernel(text):
    return tuple(int(part) for part in text.split(".")[:2])


def holds(rule):
    """Whether a rule is for a container without capabilities on one of the machines."""
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    if includes.get("caps") or kernel(includes.get("minKernel", "0.0")) > KERNEL:
        return False
    arches = includes.get("arches")
    return (not arches or any(machine in arches for machine in MACHINES)) and not any(
        machine in excludes.get("arches", []) for machine in MACHINES
    )


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        default = json.load(file)
    plain, rules = set(IO_URING), []
    for rule in filter(holds, default["syscalls"]):
        names = sorted(set(rule.get("names") or [rule["name"]]) - set(IO_URING))
        if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("args"):
            plain.update(names)
            continue
        kept = {"names": names, "action": rule["action"]}
        if rule.get("errnoRet") is not None:
            kept["errnoRet"] = rule["errnoRet"]
        if rule.get("args"):
            keys = ("index", "value", "valueTwo", "op")
            kept["args"] = [{key: arg[key] for key in keys if key in arg} for arg in rule["args"]]
        rules.append(kept)
    plain -= {*WITHHELD, "clone", "clone3"}
    rules += [*CLONE, {"names": WITHHELD, "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM}]
    # libseccomp refuses two actions for one call: what is allowed at all is in no other rule.
    for rule in rules:
        rule["names"] = [name for name in rule["names"] if name not in plain]
    families = [arch for arch in default["archMap"] if arch["architecture"] in MACHINES.values()]
    profile = {
        "defaultAction": default["defaultAction"],
        "defaultErrnoRet": default.get("defaultErrnoRet", 1),
        "architectures": [
            name for arch in families for name in [arch["architecture"], *(arch["subArchitectures"] or [])]
        ],
        "syscalls": [{"names": sorted(plain), "action": "SCMP_ACT_ALLOW"}]
        + [rule for rule in rules if rule["names"]],
    }
    json.dump(profile, sys.stdout, indent=1)
    print()


main()
