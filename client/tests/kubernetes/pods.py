"""Runs the pods of rendered manifests without a cluster: each in a network namespace with an address of its own on one
bridge, with the command, arguments, environment, sysctls, limits, user, volumes and seccomp profile that the manifests give
it, and the environment and names that Kubernetes adds. The Job's pods run once the server is ready, and their run
directories are fetched as run.sh does. Prints one JSON object. Root alone; nothing of it outlives the process.

Exit status: 77 where this host does not let it make namespaces or control groups; another: what went wrong is said."""

import argparse
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request

import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
NODE, NETWORK = "10.244.7.1", "10.244.7."
# What a kubelet and a container runtime give that no manifest names: podPidsLimit, and the runtime's own limits.
POD_PIDS = 1024
LIMITS = {"RLIMIT_NOFILE": 1 << 20, "RLIMIT_MEMLOCK": 8 << 20}
UNITS = {"": 1, "m": 1e-3, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def quantity(text):
    number, unit = re.fullmatch(r"([0-9.]+)(m|Ki|Mi|Gi|)", str(text)).groups()
    return float(number) * UNITS[unit]


def run(*words, **more):
    return subprocess.run(words, check=True, **more)


class Groups:
    """The control groups of one container, in the version that this host has."""

    def __init__(self, top, name, limits):
        self.version = 2 if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else 1
        memory = int(quantity(limits["memory"])) if "memory" in limits else None
        cpu = int(quantity(limits["cpu"]) * 100_000) if "cpu" in limits else None
        if self.version == 2:
            self.paths = {"": f"/sys/fs/cgroup/{top}/{name}"}
            values = {"": {"memory.max": memory, "cpu.max": cpu and f"{cpu} 100000", "pids.max": POD_PIDS}}
        else:
            names = ("memory", "cpu", "pids")
            self.paths = {controller: f"/sys/fs/cgroup/{controller}/{top}/{name}" for controller in names}
            values = {
                "memory": {"memory.limit_in_bytes": memory},
                "cpu": {"cpu.cfs_period_us": 100_000 if cpu else None, "cpu.cfs_quota_us": cpu},
                "pids": {"pids.max": POD_PIDS},
            }
        for controller, path in self.paths.items():
            os.makedirs(path)
            for file, value in values[controller].items():
                if value is not None:
                    with open(f"{path}/{file}", "w", encoding="utf-8") as opened:
                        opened.write(str(value))

    def memory_peak(self):
        name = "memory.peak" if self.version == 2 else "memory.max_usage_in_bytes"
        with open(f"{self.paths.get('memory', self.paths.get(''))}/{name}", encoding="utf-8") as file:
            return int(file.read())


class Cluster:
    def __init__(self, objects, options):
        self.objects, self.options = objects, options
        self.pods, self.ready = [], []
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "br0", "type", "bridge")
        run("ip", "addr", "add", f"{NODE}/24", "dev", "br0")
        run("ip", "link", "set", "br0", "up")

    def of_kind(self, kind):
        return [one for one in self.objects if one["kind"] == kind]

    def find(self, kind, name):
        return next(one for one in self.of_kind(kind) if one["metadata"]["name"] == name)

    def names(self):
        """What the cluster's DNS says: the addresses of ready pods under the name of a headless Service."""
        lines = ["127.0.0.1 localhost"]
        for service in self.of_kind("Service"):
            assert service["spec"]["clusterIP"] == "None", "only headless Services have no proxy between"
            name, space = service["metadata"]["name"], service["metadata"]["namespace"]
            forms = [name, f"{name}.{space}", f"{name}.{space}.svc", f"{name}.{space}.svc.cluster.local"]
            for pod in self.ready:
                if service["spec"]["selector"].items() <= pod.labels.items():
                    lines.append(" ".join([pod.address, *forms]))
        return "\n".join(lines) + "\n"


class Pod:
    """A sandbox: the network namespace of a pod, its address, its sysctls and its volumes."""

    def __init__(self, cluster, name, template, labels=(), env=()):
        self.cluster, self.name, self.spec = cluster, name, template["spec"]
        self.labels = {**template["metadata"]["labels"], **dict(labels)}
        self.env = dict(env)
        self.containers = {}
        self.sandbox = subprocess.Popen(["unshare", "--net", "--uts", "--ipc", "sleep", "infinity"])
        own = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self.sandbox.pid}/ns/net") == own:
            time.sleep(0.01)
        number = len(cluster.pods) + 2
        cluster.pods.append(self)
        self.address = f"{NETWORK}{number}"
        outer = f"veth{number}"
        run("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", str(self.sandbox.pid))
        run("ip", "link", "set", outer, "master", "br0", "up")
        self.inside("ip", "link", "set", "lo", "up")
        self.inside("ip", "addr", "add", f"{self.address}/24", "dev", "eth0")
        self.inside("ip", "link", "set", "eth0", "up")
        self.inside("ip", "route", "add", "default", "via", NODE)
        self.context = self.spec.get("securityContext", {})
        for sysctl in self.context.get("sysctls", []):
            # A sysctl that the pod's namespace has not got is an error, as it is of the runtime's.
            path = "/proc/sys/" + sysctl["name"].replace(".", "/")
            self.inside("sh", "-c", 'test -e "$1" && echo "$2" >"$1"', "sh", path, sysctl["value"])
        self.volumes = {}
        for volume in self.spec.get("volumes", []):
            place = f"{cluster.options.work}/{name}/{volume['name']}"
            os.makedirs(place)
            os.chown(place, 0, self.context["fsGroup"])
            os.chmod(place, 0o2775)
            self.volumes[volume["name"]] = place

    def inside(self, *words):
        run("nsenter", "--net", f"--target={self.sandbox.pid}", *words)

    def start(self, container):
        options, name = self.cluster.options, container["name"]
        context = {**self.context, **container.get("securityContext", {})}
        assert context["runAsNonRoot"] and context["runAsUser"] != 0
        place = f"{options.work}/{self.name}/root-{name}"
        os.makedirs(place)
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOSTNAME": self.name}
        env.update(KUBERNETES_SERVICE_HOST="10.96.0.1", KUBERNETES_SERVICE_PORT="443", **self.env)
        for source in container.get("envFrom", []):
            env.update(self.cluster.find("ConfigMap", source["configMapRef"]["name"])["data"])
        env.update({one["name"]: one["value"] for one in container.get("env", [])})

        def filled(text):
            # As the kubelet does it: a name that is not there stays as it is.
            return re.sub(r"\$\(([A-Za-z_]\w*)\)", lambda found: env.get(found[1], found[0]), text)

        groups = Groups(options.group, f"{self.name}-{name}", container["resources"].get("limits", {}))
        spec = {
            "sandbox": self.sandbox.pid,
            "hostname": self.name,
            "root": place,
            "programs": options.programs,
            "files": {
                "/etc/hosts": f"{self.address} {self.name}\n{self.cluster.names()}",
                "/etc/nsswitch.conf": "hosts: files\n",
                "/etc/host.conf": "multi on\n",
                "/etc/resolv.conf": "",
            },
            "volumes": [
                {"from": self.volumes[one["name"]], "to": one["mountPath"], "is_read_only": one.get("readOnly", False)}
                for one in container.get("volumeMounts", [])
            ],
            "groups": {"version": groups.version, "paths": groups.paths},
            "limits": LIMITS,
            "is_root_read_only": context["readOnlyRootFilesystem"],
            "drops_all": "ALL" in context["capabilities"]["drop"],
            "may_gain": context["allowPrivilegeEscalation"],
            "uid": context["runAsUser"],
            "gid": context["runAsGroup"],
            "supplementary": [context["fsGroup"]] if "fsGroup" in context else [],
            "profile": profile(context["seccompProfile"], options),
            "argv": [filled(word) for word in container["command"] + container.get("args", [])],
            "env": env,
        }
        with open(f"{place}.json", "w", encoding="utf-8") as file:
            json.dump(spec, file)
        with open(f"{options.out}/{self.name}.{name}.log", "w", encoding="utf-8") as log:
            command = [sys.executable, f"{HERE}/container.py", f"{place}.json"]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.containers[name] = (process, groups)

    def confinement(self, name):
        """What the kernel says of the program of a container, once it is there."""
        process, wanted = self.containers[name][0], ("Uid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")
        while process.poll() is None:
            with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="utf-8") as file:
                children = file.read().split()
            try:
                with open(f"/proc/{children[0]}/status", encoding="utf-8") as file:
                    status = dict(line.split(":", 1) for line in file)
                if status["Name"].strip().startswith("megaconn"):
                    return {key: status[key].split()[0] for key in wanted}
            except (IndexError, FileNotFoundError):
                pass
            time.sleep(0.02)
        return None

    def start_all(self):
        for container in self.spec["containers"]:
            self.start(container)

    def wait_ready(self):
        """Until the readiness probes of its containers succeed, as the kubelet asks them from the node."""
        for container in self.spec["containers"]:
            probe = container.get("readinessProbe")
            if not probe:
                continue
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            where = probe["httpGet"]
            url = f"http://{self.address}:{ports.get(where['port'], where['port'])}{where['path']}"
            deadline = time.monotonic() + 60
            while True:
                ended = self.containers[container["name"]][0].poll()
                if ended is not None:
                    return ended
                try:
                    with urllib.request.urlopen(url, timeout=probe.get("timeoutSeconds", 1)) as answer:
                        answer.read()
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.2)
        self.cluster.ready.append(self)
        return None


def profile(asked, options):
    """The profile of a pod; with --without-io-uring what it is where nobody has put it on the node."""
    if asked["type"] != "Localhost":
        sys.exit(f"seccompProfile {asked} cannot be had here")
    name = os.path.basename(asked["localhostProfile"])
    with open(f"{options.profiles}/{name}", encoding="utf-8") as file:
        found = json.load(file)
    if options.without_io_uring:
        for rule in found["syscalls"]:
            rule["names"] = [name for name in rule["names"] if not name.startswith("io_uring_")]
    return found


def figures(pod, port):
    with urllib.request.urlopen(f"http://{pod.address}:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    sums = {}
    for line in lines:
        found = re.match(r"(megaconn_(?:accepted|closed)_total|megaconn_connections)\{[^}]*\} (\S+)", line)
        if found:
            sums[found[1]] = sums.get(found[1], 0) + float(found[2])
    return sums


def patch(objects, options):
    """What run.sh does before it lets the Job go on."""
    for one in objects:
        if one["kind"] == "Job":
            assert one["spec"]["suspend"] and one["spec"]["completionMode"] == "Indexed"
            one["spec"].update(suspend=False, completions=options.parts, parallelism=options.parts)
        if one["kind"] == "ConfigMap" and one["metadata"]["name"] == "megaconn-run":
            begin = time.gmtime(time.time() + options.begin_in)
            moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", begin)
            one["data"].update(RUN_ID="rehearsal", START_AT=moment, MEGACONN_PARTS=str(options.parts))
            one["data"].update(pair.split("=", 1) for pair in options.set)


def inside(options):
    with open(options.manifests, encoding="utf-8") as file:
        objects = [one for one in yaml.safe_load_all(file) if one]
    cluster, said = Cluster(objects, options), {}
    deployment = cluster.find("Deployment", "megaconn-server")["spec"]
    servers = [Pod(cluster, f"megaconn-server-{index}", deployment["template"]) for index in range(deployment["replicas"])]
    for pod in servers:
        pod.start_all()
    for pod in servers:
        ended = pod.wait_ready()
        if ended is not None:
            return {"servers": [{"exit": ended}]}
    if not options.is_patched:
        patch(objects, options)
    job = cluster.find("Job", "megaconn-client")["spec"]
    clients = []
    for index in range(job["completions"]):
        key = "batch.kubernetes.io/job-completion-index"
        env = {"JOB_COMPLETION_INDEX": str(index)}
        clients.append(Pod(cluster, f"megaconn-client-{index}-abcde", job["template"], {key: str(index)}, env))
        clients[-1].start_all()
        # They do not start at one moment, as pods do not.
        time.sleep(options.apart)
    said["confinement"] = [servers[0].confinement("server"), clients[0].confinement("client")]
    said["clients"] = []
    for index, pod in enumerate(clients):
        (process, groups), keeper = pod.containers["client"], pod.containers["keeper"][0]
        code = process.wait()
        said["clients"].append({"exit": code, "memory_peak": groups.memory_peak(), "keeper_waited": keeper.poll() is None})
        with open(f"{options.out}/exit.new", "w", encoding="utf-8") as file:
            file.write(str(code))
        os.rename(file.name, f"{options.out}/exit-{index}")
        if options.is_patched:
            continue
        # What `kubectl cp` does, from the container that waits. Then that may go.
        place = pod.volumes["results"]
        if os.path.isdir(f"{place}/part-{index}"):
            shutil.copytree(f"{place}/part-{index}", f"{options.out}/part-{index}")
        open(f"{place}/fetched", "w", encoding="utf-8").close()
    for pod in clients:
        pod.containers["keeper"][0].wait(timeout=60)
    said["servers"] = []
    for pod in servers:
        process, groups = pod.containers["server"]
        told = {"figures": figures(pod, 9100), "memory_peak": groups.memory_peak()}
        process.terminate()
        told["exit"] = process.wait(timeout=pod.spec["terminationGracePeriodSeconds"])
        said["servers"].append(told)
    return said


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifests")
    for name in ("--programs", "--profiles", "--out"):
        parser.add_argument(name, required=True)
    parser.add_argument("--parts", type=int, default=3)
    parser.add_argument("--begin-in", type=float, default=12)
    parser.add_argument("--apart", type=float, default=0.5)
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the run's ConfigMap")
    parser.add_argument("--without-io-uring", action="store_true")
    parser.add_argument("--is-patched", action="store_true", help="the Job goes on, and others fetch what it leaves")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.group = f"megaconn-pods-{os.environ.get('MEGACONN_PODS', os.getpid())}"
    options.work = f"{options.out}/work"
    if options.inside:
        os.makedirs(options.work)
        print(json.dumps(inside(options)))
        return 0
    flags = ["--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command = ["unshare", *flags, sys.executable, os.path.abspath(__file__), *sys.argv[1:], "--inside"]
    is_second = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    tops = ["/sys/fs/cgroup"] if is_second else [f"/sys/fs/cgroup/{name}" for name in ("memory", "cpu", "pids")]
    made = [f"{top}/{options.group}" for top in tops]
    try:
        try:
            run("unshare", *flags, "true")
            for path in made:
                os.mkdir(path)
            for path in [*tops, *made] if is_second else ():
                with open(f"{path}/cgroup.subtree_control", "w", encoding="utf-8") as file:
                    file.write("+memory +cpu +pids")
        except (OSError, subprocess.CalledProcessError) as error:
            print(error, file=sys.stderr)
            return 77
        return subprocess.run(command, env={**os.environ, "MEGACONN_PODS": str(os.getpid())}, check=False).returncode
    finally:
        for path in made:
            for group in sorted(glob.glob(f"{path}/*/"), reverse=True) + [path]:
                for _ in range(100):
                    try:
                        os.rmdir(group)
                        break
                    except FileNotFoundError:
                        break
                    except OSError:
                        time.sleep(0.05)


sys.exit(main())
