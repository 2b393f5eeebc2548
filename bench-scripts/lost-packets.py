#!/usr/bin/env python3
"""Runs across a cable that loses packets by chance each way: what do the ends count, and what is named?

As root: lost-packets.py PROGRAMS OUT.csv [--connections 2000] [--runs 6] [--lost 0 0.01 0.1 1]
[--flags FLAGS]. PROGRAMS is the folder of megaconn and megaconn-client, FLAGS are the client's. Each run has a server of its
own, in one of two network namespaces that are made and taken away. A line of OUT.csv for each run has what
the kernels of both ends counted from before it until after it, the walls that the verdict named, and the
load of the host. Packets are dropped by nft where they come in; those of the metrics are not.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile

COUNTERS = """Tcp.OutSegs Tcp.RetransSegs TcpExt.TCPDSACKRecv TcpExt.TCPDSACKOfoRecv TcpExt.TCPLossProbes
TcpExt.TCPLossProbeRecovery TcpExt.TCPTimeouts TcpExt.TCPSynRetrans TcpExt.TCPLostRetransmit
TcpExt.ListenOverflows""".split()
HEAD = "lost_percent connections established named connected accepted refused server_seen".split()
CLIENT, SERVER = f"lost-{os.getpid()}-c", f"lost-{os.getpid()}-s"
LINK = f"lost{os.getpid()}"
RULES = """flush ruleset
table ip lossy {
 chain in {
  type filter hook prerouting priority -300
  tcp dport 9100 accept
  tcp sport 9100 accept
  meta l4proto tcp numgen random mod 10000 < %d drop
 }
}
"""


def run(*words, **more):
    return subprocess.run(words, check=True, text=True, **more)


def within(namespace, *words, **more):
    return run("ip", "netns", "exec", namespace, *words, **more)


def counters(namespace):
    text = within(namespace, "cat", "/proc/net/snmp", "/proc/net/netstat", capture_output=True).stdout
    lines = [line.split() for line in text.splitlines()]
    found = {}
    for names, values in zip(lines[::2], lines[1::2]):
        found.update({names[0][:-1] + "." + n: int(v) for n, v in zip(names[1:], values[1:])})
    return [found[name] for name in COUNTERS]


def lay_cable():
    for namespace in (CLIENT, SERVER):
        run("ip", "netns", "add", namespace)
    peer = ("type", "veth", "peer", "name", LINK + "s", "netns", SERVER)
    run("ip", "link", "add", LINK + "c", "netns", CLIENT, *peer)
    for namespace, link, ip in ((CLIENT, LINK + "c", "10.9.0.1/24"), (SERVER, LINK + "s", "10.9.0.2/24")):
        run("ip", "-n", namespace, "addr", "add", ip, "dev", link)
        for device in ("lo", link):
            run("ip", "-n", namespace, "link", "set", device, "up")


def metric(text, name):
    lines = [line for line in text.splitlines() if line.startswith((name + "{", name + " "))]
    return sum(int(float(line.split()[-1])) for line in lines)


def once(options, lost):
    rules = RULES % round(lost * 100) if lost else "flush ruleset\n"
    for namespace in (CLIENT, SERVER):
        within(namespace, "nft", "-f", "-", input=rules)
    serve = [options.programs + "/megaconn", "serve", "--listen", "10.9.0.2:7000", "--cores", "1"]
    serve = ["ip", "netns", "exec", SERVER, *serve, "--metrics", "10.9.0.2:9100"]
    server = subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    out = tempfile.mkdtemp()
    try:
        for line in server.stdout:
            if "listening" in line:
                break
        before = counters(CLIENT) + counters(SERVER)
        client = [options.programs + "/megaconn-client", "run", "--target", "10.9.0.2:7000", "--cores", "1"]
        client += ["--connections", str(options.connections), "--out", out]
        client += ["--server-metrics", "10.9.0.2:9100", *options.flags]
        done = subprocess.run(["ip", "netns", "exec", CLIENT, *client], capture_output=True, text=True, timeout=200)
        ask = "import urllib.request as u; print(u.urlopen('http://10.9.0.2:9100/metrics').read().decode())"
        text = within(SERVER, "python3", "-c", ask, capture_output=True).stdout
        after = counters(CLIENT) + counters(SERVER)
        if not os.path.exists(out + "/result.json"):
            print(done.stdout, done.stderr, flush=True)
            return None
        result = json.load(open(out + "/result.json"))
        moments = json.load(open(out + "/counters.json"))["moments"]
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(out)
    verdict = result["verdict"]
    walls = [verdict.get("wall")] + verdict.get("more_walls", []) + verdict.get("met_without_loss", [])
    named = "+".join(f"{wall['id']}@{wall['side']}" for wall in walls if wall) or "none"
    seen = int(all(moments[at]["server"] is not None for at in (0, -1)))
    accepted, refused = metric(text, "megaconn_accepted_total"), metric(text, "megaconn_refused_total")
    head = [lost, options.connections, result["established"], named, result["established"]]
    load = open("/proc/loadavg").read().split()[0]
    return [*head, accepted, refused, seen, *[b - a for a, b in zip(before, after)], load]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("programs")
    parser.add_argument("out")
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--lost", type=float, nargs="+", default=[0, 0.01, 0.1, 1])
    parser.add_argument("--flags", default="--message-every 1s --hold 8s", type=str.split)
    options = parser.parse_args()
    names = [f"{end}_{name.split('.')[1]}" for end in ("client", "server") for name in COUNTERS]
    try:
        lay_cable()
        with open(options.out, "w", encoding="utf-8") as out:
            print(",".join([*HEAD, *names, "load"]), file=out, flush=True)
            for _ in range(options.runs):
                for lost in options.lost:
                    if line := once(options, lost):
                        print(",".join(str(field) for field in line), file=out, flush=True)
    finally:
        for namespace in (CLIENT, SERVER):
            subprocess.run(["ip", "netns", "del", namespace], check=False)


main()
