"""What compare.sh measures and says: one measurement of one server, and the table of all of them.

usage: compare.py measure --row ROW --server NAME --pid PID ...   one line of CSV to stdout
       compare.py table FILE...                                   the table, from the CSV of any runs

compare.sh starts and ends the servers and calls this on the client's CPU. What the client says on its
stderr tells when its phases begin and end; then the server's time on the CPU is read, to the
nanosecond, as the kernel counts it.
"""
import argparse
import csv
import json
import os
import signal
import statistics
import subprocess
import sys
import time

COLUMNS = ["row", "run", "server", "connections", "messages", "seconds", "messages_per_s", "cpu_us_per_message",
           "p50_us", "p99_us", "opened_per_s", "cpu_us_per_open", "user_bytes_each", "resident_bytes_each",
           "server_busy", "client_busy", "wrong"]

# What is compared in a row of each kind: the column, what it is called, whether more is better.
COMPARED = {
    "open": [("opened_per_s", "connections/s", True), ("cpu_us_per_open", "CPU us/connection", False),
             ("user_bytes_each", "user bytes, growth", False), ("resident_bytes_each", "resident, in all", False)],
    "echo": [("messages_per_s", "messages/s", True), ("cpu_us_per_message", "CPU us/message", False),
             ("p50_us", "p50 us", False), ("p99_us", "p99 us", False)],
    "handshakes": [("opened_per_s", "handshakes/s", True), ("cpu_us_per_open", "CPU us/handshake", False)],
    "rate": [("p50_us", "p50 us", False), ("p99_us", "p99 us", False), ("cpu_us_per_message", "CPU us/message", False)],
}
OURS = "megaconn"
# What the client's histograms resolve.
RESOLUTION = 0.03
# How long connections rest before memory is read, in times of a measurement.
REST = 3
COUNT_MAX = 65535  # What --message-count takes.
# Messages of the run that finds out how many fit the time.
TRIAL_MESSAGES = 2000


def parts(row):
    """What is spoken in a row, what is measured, and on how many connections, with idle ones behind a `+`."""
    *protocol, kind, connections = row.split("-")
    return protocol[0] if protocol else "tcp", kind, connections


def kind_of(row):
    return parts(row)[1]


# ---- one measurement ------------------------------------------------------------------------------


def cpu_seconds(pid):
    """Time that all threads of a process have spent on a CPU."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
            total += int(file.read().split()[0])
    return total / 1e9


def memory(pid):
    """Bytes of a process's own (heap, stacks), and all that are resident."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in file.readlines()[1:]}
    return sizes["Anonymous"], sizes["Rss"]


class Client:
    """A megaconn-client that runs; it is ended with this object."""

    def __init__(self, args, name, connections, source, *flags):
        self.out = f"{args.work}/{name}"
        protocol = parts(args.row)[0]
        command = [*args.client.split(), "run", "--target", f"{protocol}://{args.target}", "--connections",
                   str(connections), "--source", source, "--close", "reset", "--out", self.out, *flags]
        if protocol == "tls":
            command.append("--tls-insecure")
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.said = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def until_open(self):
        self.until("opening", " done in ")

    def until_holding(self):
        self.until("holding", " for ")

    def until(self, begins, contains):
        """Waits until it says such a line; lines of progress have other words."""
        for line in self.process.stderr:
            self.said.append(line)
            if line.startswith(begins) and contains in line:
                return
        sys.exit(f"error: the client ended: {''.join(self.said[-3:])}")

    def result(self):
        """What came of it, when it is done: status 1 is a run with failures, which its figures show."""
        self.said += self.process.communicate()[1].splitlines(keepends=True)
        if self.process.returncode not in (0, 1):
            sys.exit(f"error: the client failed: {''.join(self.said[-3:])}")
        with open(f"{self.out}/result.json") as file:
            return json.load(file)


class Look:
    """The time, and the time on the CPU of both ends."""

    def __init__(self, args, client):
        self.at = time.monotonic()
        self.server, self.client = cpu_seconds(args.pid), cpu_seconds(client.process.pid)


def wrong(result):
    """Everything that was not as it should be; late is not wrong, it is slow."""
    messages = [plateau["messages"] for plateau in result["plateaus"]]
    return (sum(result["failed"].values()) + sum(result["lost"].values()) + result["untried"]
            + sum(m["mismatched"] + m["unsent"] for m in messages))


def busy(before, after, seconds):
    return {"server_busy": round((after.server - before.server) / seconds, 2),
            "client_busy": round((after.client - before.client) / seconds, 2)}


def measure_open(args, connections):
    """Opens so many connections again and again for the time; memory is that of the first time, when
    each has exchanged a message and rests."""
    connections, rest = min(connections, args.most), REST * args.seconds if kind_of(args.row) == "open" else 0
    began, opened, seconds, server_cpu, client_cpu, wrongs, each = time.monotonic(), 0, 0.0, 0.0, 0.0, 0, {}
    while not opened or time.monotonic() - began < args.seconds:
        before, cpu_before = memory(args.pid), cpu_seconds(args.pid)
        hold = f"{0.1 if each else rest + 0.1:.3f}s"
        with Client(args, "open", connections, "127.1.0.0/16", "--message-count", "1", "--hold", hold) as client:
            client.until_open()
            client_cpu += cpu_seconds(client.process.pid)
            time.sleep(0.1)  # Who is in the server's queue is accepted, and no message is sent yet.
            server_cpu += cpu_seconds(args.pid) - cpu_before
            client.until_holding()
            if not each:
                time.sleep(rest)  # A server may give memory back that only the opening took.
                began += rest
                own, resident = memory(args.pid)
                each = {"user_bytes_each": round((own - before[0]) / connections, 1),
                        "resident_bytes_each": round(resident / connections, 1)}
            result = client.result()
        connect = result["plateaus"][0]["connect"]
        opened, seconds, wrongs = opened + connections, seconds + connect["seconds"], wrongs + wrong(result)
    return {"connections": connections, "seconds": round(seconds, 3), "opened_per_s": round(opened / seconds),
            "cpu_us_per_open": round(server_cpu / opened * 1e6, 3), "server_busy": round(server_cpu / seconds, 2),
            "client_busy": round(client_cpu / seconds, 2), "wrong": wrongs, **each}


def closed_loop(args, connections, count):
    """So many messages on each connection, each after the echo of the one before it."""
    with Client(args, "busy", connections, "127.1.0.0/16", "--message-count", str(count), "--hold", "0s") as client:
        client.until_open()
        time.sleep(0.1)  # Of the 200 ms that the client lets everything settle.
        before = Look(args, client)
        client.until_holding()
        after = Look(args, client)
        result = client.result()
    messages = result["plateaus"][0]["messages"]
    n, seconds, latency = messages["received"], messages["seconds"], messages["latency_us"]
    return {"connections": connections, "messages": n, "seconds": round(seconds, 3),
            "messages_per_s": round(n / seconds), "p50_us": latency["p50"], "p99_us": latency["p99"],
            "cpu_us_per_message": round((after.server - before.server) / n * 1e6, 3),
            "wrong": wrong(result), **busy(before, after, seconds)}


def measure_echo(args, connections):
    """As many messages as fit the time by the pace of this server's last run in this row."""
    paces_path = f"{args.work}/paces.json"
    paces = json.load(open(paces_path)) if os.path.exists(paces_path) else {}
    key = f"{args.row} {args.server}"
    if key not in paces:
        paces[key] = closed_loop(args, connections, -(-TRIAL_MESSAGES // connections))["messages_per_s"]
    count = round(paces[key] * args.seconds / connections)
    figures = closed_loop(args, connections, min(max(1, count), COUNT_MAX))
    paces[key] = figures["messages_per_s"]
    with open(paces_path, "w") as file:
        json.dump(paces, file)
    return figures


def measure_rate(args, connections):
    """Messages by a schedule that waits for nobody; latency counts from when each was due."""
    with Client(args, "rate", connections, "127.1.0.0/16", "--message-rate", f"{args.rate}/s",
                "--hold", f"{args.seconds}s") as client:
        client.until_holding()
        before = Look(args, client)
        time.sleep(0.9 * args.seconds)
        after = Look(args, client)
        result = client.result()
    plateau = result["plateaus"][0]
    messages, latency = plateau["messages"], plateau["messages"]["latency_us"]
    per_s, seconds = messages["received"] / plateau["hold_seconds"], after.at - before.at
    return {"connections": connections, "messages": messages["received"], "seconds": round(plateau["hold_seconds"], 3),
            "messages_per_s": round(per_s), "p50_us": latency["p50"], "p99_us": latency["p99"],
            "cpu_us_per_message": round((after.server - before.server) / (per_s * seconds) * 1e6, 3),
            "wrong": wrong(result), **busy(before, after, seconds)}


def measure(args):
    """ROW is open-N, handshakes-N, echo-N, rate-N, or echo-N+M with M idle connections beside the N busy ones;
    with tls- or ws- before it, connections speak that."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _, kind, numbers = parts(args.row)
    connections, _, idle = numbers.partition("+")
    measured = {"open": measure_open, "handshakes": measure_open, "echo": measure_echo, "rate": measure_rate}[kind]
    if idle:
        with Client(args, "idle", int(idle), "127.2.0.0/16", "--message-count", "0", "--hold", "10m") as client:
            client.until_holding()
            figures = measured(args, int(connections))
    else:
        figures = measured(args, int(connections))
    figures |= {"row": args.row, "run": args.run, "server": args.server}
    csv.DictWriter(sys.stdout, COLUMNS, restval="", lineterminator="\n").writerow(figures)
    if figures["wrong"]:
        print(f"warning: {args.row}, {args.server}: {figures['wrong']} failed, were lost or not as they should be",
              file=sys.stderr)


# ---- the table ------------------------------------------------------------------------------------


def say(value):
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def verdict(ours, theirs, more_is_better):
    """`ahead` or `behind` where all pairs agree but at most one of five, beyond what the client's
    histograms resolve."""
    more = sum(a > b * (1 + RESOLUTION) for a, b in zip(ours, theirs))
    less = sum(b > a * (1 + RESOLUTION) for a, b in zip(ours, theirs))
    ahead, behind = (more, less) if more_is_better else (less, more)
    if ahead * 5 >= len(ours) * 4:
        return "ahead"
    return "behind" if behind * 5 >= len(ours) * 4 else "level"


def table(paths):
    runs = [run for path in paths for run in csv.DictReader(open(path))]
    behind = []
    for row in dict.fromkeys(run["row"] for run in runs):
        of_row = [run for run in runs if run["row"] == row]
        servers = list(dict.fromkeys([OURS] + [run["server"] for run in of_row]))
        values = {server: [run for run in of_row if run["server"] == server] for server in servers}
        if not values[OURS]:
            continue
        print(f"\n{row:20}" + "".join(f"{server:>12}" for server in servers))
        for column, name, more_is_better in COMPARED[kind_of(row)]:
            figures = {server: {run["run"]: float(run[column]) for run in values[server]} for server in servers}
            print(f"{name:20}" + "".join(f"{say(statistics.median(f.values())):>12}" for f in figures.values()))
            lines = {"  ours / its": "", "  spread": "", "  ours is": ""}
            for server in servers[1:]:
                pairs = [(figures[OURS][run], value) for run, value in figures[server].items() if run in figures[OURS]]
                ratios = sorted(ours / its for ours, its in pairs if its > 0)
                word = verdict(*zip(*pairs), more_is_better) if pairs else "-"
                if len(ratios) == len(pairs) > 0:
                    median, spread = f"{statistics.median(ratios):.2f}", f"{ratios[0]:.2f}-{ratios[-1]:.2f}"
                else:
                    median, spread = "-", "-"  # It has none of it, so that ours is no multiple.
                for label, text in zip(lines, (median, spread, word)):
                    lines[label] += f"{text:>12}"
                if word == "behind":
                    behind.append(f"{row}, {name}: {server} is better, ours / its {median} ({spread})")
            for label, line in lines.items() if len(servers) > 1 else ():
                print(f"{label:32}{line}")
        wrong_in = {run["server"]: run["wrong"] for run in of_row if int(run["wrong"])}
        if wrong_in:
            print(f"not all was as it should be: {wrong_in}")
    idle_cost(runs)
    if {run["server"] for run in runs} == {OURS}:
        return
    print("\nWhere a baseline is better:" if behind else "\nNo baseline is better in any row.")
    for line in behind:
        print(f"  {line}")


def idle_cost(runs):
    """What idle connections cost beside busy ones: a row with them against the same without, by run."""
    cost = {(run["row"], run["server"], run["run"]): float(run["cpu_us_per_message"] or 0) for run in runs}
    for row in dict.fromkeys(run["row"] for run in runs if "+" in run["row"]):
        without = row.partition("+")[0]
        for server in dict.fromkeys(run["server"] for run in runs):
            ratios = sorted(value / cost[without, server, number] for (of, name, number), value in cost.items()
                            if (of, name) == (row, server) and cost.get((without, server, number)))
            if ratios:
                print(f"\n{row} / {without}, CPU us/message, {server}: {statistics.median(ratios):.2f} "
                      f"({ratios[0]:.2f}-{ratios[-1]:.2f})")


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    of_measure = commands.add_parser("measure")
    for name in ("row", "run", "server", "client", "target", "work"):
        of_measure.add_argument(f"--{name}", required=True)
    of_measure.add_argument("--pid", type=int, required=True)
    of_measure.add_argument("--rate", type=int, required=True)
    of_measure.add_argument("--most", type=int, required=True)
    of_measure.add_argument("--seconds", type=float, required=True)
    commands.add_parser("head")
    commands.add_parser("table").add_argument("files", nargs="+")
    args = parser.parse_args()
    if args.command == "measure":
        measure(args)
    elif args.command == "head":
        print(",".join(COLUMNS))
    else:
        table(args.files)


main()
