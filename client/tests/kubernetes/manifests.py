"""Reads rendered manifests as an API server does, and by rules that no schema has. Prints what is wrong, a line each.

usage: manifests.py PROFILES FILE...

Exit status: 0 nothing is wrong; 1 something is."""

import json
import os
import re
import sys

import kubernetes_validate
import yaml
from cloudcoil.models.prometheus_operator.v1 import PodMonitor

# The oldest release in which all fields are stable (backoffLimitPerIndex), and the newest that is known here.
RELEASES = ("1.33", "1.37")

# Sysctls that every kubelet allows (pkg/kubelet/sysctl/safe_sysctls.go): those of net.*.
SAFE = {
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
}
TIMES = {"s": 1, "m": 60}


def of_schemas(one):
    if one.get("apiVersion") == "monitoring.coreos.com/v1" and one.get("kind") == "PodMonitor":
        try:
            told = PodMonitor.model_validate(one).model_dump(by_alias=True, exclude_unset=True, mode="json")
        except ValueError as error:
            return [str(error)]
        # The model passes over what it does not know: then it has less than it was given.
        return lost(one, told, "PodMonitor")
    found = []
    for release in RELEASES:
        try:
            kubernetes_validate.validate(one, release, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"{release}: {'.'.join(map(str, error.path))}: {error.message}")
        except Exception as error:  # no schema is there: the kind is not one of Kubernetes's
            found.append(f"{release}: {type(error).__name__}: {error}")
    return found


def lost(given, kept, where):
    if isinstance(given, dict):
        kept = kept if isinstance(kept, dict) else {}
        return [
            line
            for key, value in given.items()
            for line in (lost(value, kept[key], f"{where}.{key}") if key in kept else [f"{where}.{key} is no field"])
        ]
    if isinstance(given, list):
        return [line for at, value in enumerate(given) for line in lost(value, kept[at], f"{where}[{at}]")]
    return []


def of_pods(template, is_unsafe_allowed):
    """What `restricted` of the pod security standards asks for, and what this repository does."""
    spec = template["spec"]
    context = spec.get("securityContext", {})
    for sysctl in context.get("sysctls", []):
        if sysctl["name"] not in SAFE and not is_unsafe_allowed:
            yield f"sysctl {sysctl['name']} is not safe"
    for container in spec.get("initContainers", []) + spec["containers"]:
        name, both = container["name"], {**context, **container.get("securityContext", {})}
        if both.get("allowPrivilegeEscalation") is not False or both.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{name} keeps privileges"
        if not both.get("readOnlyRootFilesystem") or both.get("seccompProfile", {}).get("type") not in ("Localhost", "RuntimeDefault"):
            yield f"{name} has a root that it may write, or no seccomp profile"
        if "memory" not in container.get("resources", {}).get("limits", {}):
            yield f"{name} has no limit of memory"
        volumes = {volume["name"] for volume in spec.get("volumes", [])}
        for mounted in container.get("volumeMounts", []):
            if mounted["name"] not in volumes:
                yield f"{name} mounts {mounted['name']}, which is no volume"
        ports = {port["name"] for port in container.get("ports", [])}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe in container and container[probe]["httpGet"]["port"] not in ports:
                yield f"{name}: {probe} asks at a port without a name"


def of_server(one):
    template, selector = one["spec"]["template"], one["spec"]["selector"]["matchLabels"]
    if not selector.items() <= template["metadata"]["labels"].items():
        yield "the selector does not select the pods"
    drain = re.search(r"--drain=(\d+)([sm])", " ".join(template["spec"]["containers"][0].get("args", [])))
    if drain and int(drain[1]) * TIMES[drain[2]] >= template["spec"]["terminationGracePeriodSeconds"]:
        yield "terminationGracePeriodSeconds ends the server before --drain does"
    if not template["spec"]["securityContext"].get("runAsNonRoot"):
        yield "the server may be root"


def of_job(one, objects):
    spec = one["spec"]
    maps = {other["metadata"]["name"]: other["data"] for other in objects if other["kind"] == "ConfigMap"}
    container = spec["template"]["spec"]["containers"][0]
    env = {"JOB_COMPLETION_INDEX": "0"}
    for source in container["envFrom"]:
        env.update(maps[source["configMapRef"]["name"]])
    used = set(re.findall(r"\$\((\w+)\)", " ".join(container["args"])))
    for name in sorted(used - set(env)):
        yield f"$({name}) is not in the environment"
    for name in sorted(set(env) - used - {"MEGACONN_PARTS"}):
        yield f"{name} is asked for by nothing"
    if spec["completionMode"] != "Indexed" or not spec["suspend"]:
        yield "the Job is not Indexed, or does not wait for its start"
    if not spec["completions"] == spec["parallelism"] == int(env["MEGACONN_PARTS"]):
        yield "completions, parallelism and MEGACONN_PARTS are not one number"
    if not spec["template"]["spec"]["securityContext"].get("runAsNonRoot"):
        yield "a client may be root"


def of_profile(profiles, template):
    asked = template["spec"].get("securityContext", {}).get("seccompProfile", {})
    if asked.get("type") != "Localhost":
        return
    path = f"{profiles}/{os.path.basename(asked['localhostProfile'])}"
    if not os.path.exists(path):
        yield f"{asked['localhostProfile']} is put on no node"
        return
    with open(path, encoding="utf-8") as file:
        profile = json.load(file)
    allowed = {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    if not {"io_uring_enter", "io_uring_register", "io_uring_setup"} <= allowed or allowed & {"mount", "bpf", "ptrace"}:
        yield f"{path} allows no io_uring, or too much"
    if any(key in rule for rule in profile["syscalls"] for key in ("includes", "excludes")):
        yield f"{path} has conditions, which containerd passes over"


def of_rules(one, objects, profiles):
    name, kind, spec = one["metadata"]["name"], one["kind"], one.get("spec", {})
    if kind in ("Deployment", "DaemonSet", "Job"):
        enforced = [other for other in objects if other["kind"] == "Namespace"]
        level = enforced[0]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] if enforced else "restricted"
        yield from of_pods(spec["template"], level == "privileged")
        yield from of_profile(profiles, spec["template"])
    if kind == "Deployment":
        yield from of_server(one)
    if kind == "Job":
        yield from of_job(one, objects)
    if kind == "Service":
        templates = [other["spec"]["template"] for other in objects if other["kind"] == "Deployment"]
        if not any(spec["selector"].items() <= template["metadata"]["labels"].items() for template in templates):
            yield f"{name} selects no pod"
        if spec.get("clusterIP") != "None":
            yield f"{name} is not headless: a proxy would be between"


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    profiles, found, read = sys.argv[1], 0, 0
    for path in sys.argv[2:]:
        with open(path, encoding="utf-8") as file:
            objects = [one for one in yaml.safe_load_all(file) if one]
        for one in objects:
            read += 1
            wrong = of_schemas(one)
            # Rules read what a schema has accepted.
            for line in wrong or of_rules(one, objects, profiles):
                found += 1
                print(f"{os.path.basename(path)}: {one.get('kind')} {one['metadata']['name']}: {line}")
    print(f"{read} objects read, {found} faults")
    sys.exit(1 if found or not read else 0)


main()
