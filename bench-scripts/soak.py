"""The real servers of soak.sh, beside each other, and cycles of clients against them, one at a time.

A cycle is a row of KINDS against a row of SERVERS. After each the server is to be empty, both ends are to
have counted the same, and the server is to be no bigger than one that had done the same kinds of work before.
"""

import argparse, collections, csv, json, os, shlex, signal, subprocess, sys, time

PORTS = 4
POOL_BYTES = 32 << 20  # of the smallest mapping of a pool, src/base/constants
EMPTY_WITHIN = 60  # seconds
MESSAGE_BYTES = 64  # of a client
ASKED_AFTERWARDS = 8  # client/src/measure/aftermath.rs
# What a client leaves, which the next one would put aside.
RUN_FILES = ["result.json", "environment.json", "counters.json", "doctor.json", "client.ndjson", "report.html"]

Server = collections.namedtuple("Server", "scheme flags client")
# `flags` of the server, and what every client of it is given.
SERVERS = {
    "echo": Server("tcp", "--take-over {out}/echo.sock --drain 3s --keepalive 2s", ""),
    "tls": Server("tls", "--tls-self-signed --tls-tickets", "--tls-insecure --tls-resume"),
    "wss": Server("wss", "--tls-self-signed --websocket --ping-every 5s", "--tls-insecure"),
    "stormy": Server("ws", "--websocket --take-over {out}/stormy.sock --storm 'drop 40% at {late}s by reset'", ""),
    "push": Server("tcp", "--mode push --broadcast-on {out}/push.sock", "--expect broadcast"),
}

Kind = collections.namedtuple("Kind", "name server part before during flags")
BACK = "--reconnect 'backoff 100ms-2s' --message-every 5s"
# Of a round, in this order: `part` of the connections, what is done `before` the client and `during` its hold.
# {early} is when it is in the midst of its hold, {late} when all are open and in it for sure.
KINDS = [
    Kind("take-over", "echo", 1, None, "replace", f"{BACK} --churn 500/s --hold {{hold}}s --sweep"),
    Kind("rush", "echo", 1, None, None, "--connects-in-flight 50000 --hold 1s --min-established {most}"),
    Kind("killed", "echo", 1, None, "kill", "--message-every 10s --hold 10m"),
    Kind("traffic", "echo", 1, None, None, "--message-every 10s --churn 500/s --hold 12s --sweep"),
    Kind("storm-fin", "echo", 1, None, None, f"{BACK} --storm 'drop 50% at 2s' --hold {{hold}}s --sweep"),
    Kind("storm-reset", "echo", 1, None, None, f"{BACK} --storm 'drop 50% at 2s by reset' --hold {{hold}}s --sweep"),
    Kind("storm-vanish", "echo", 1, None, None,
         f"{BACK} --storm 'drop 20% at 2s by vanishing' --hold {{hold}}s --sweep"),
    Kind("lifetimes", "echo", 1, None, None, "--lifetime 'exp 15s' --message-every exp:5s --hold 12s --sweep"),
    Kind("broadcast", "push", 1, None, "broadcast", "--hold {hold}s"),
    Kind("server-storm", "stormy", 1, "replace", None, f"{BACK} --hold {{long}}s --sweep"),
    Kind("tls", "tls", 0.2, None, None, "--message-every 5s --churn 50/s --hold 10s --sweep"),
    Kind("tls-storm", "tls", 0.2, None, None, f"{BACK} --storm 'drop 30% at 2s by reset' --hold {{hold}}s --sweep"),
    Kind("wss", "wss", 0.2, None, None, "--message-every 5s --churn 50/s --hold 10s --sweep"),
    Kind("wss-lifetimes", "wss", 0.2, None, None,
         f"{BACK} --lifetime 'pareto 5s 1.5' --storm 'drop 20% at 2s' --hold {{hold}}s --sweep"),
]


class Failed(Exception):
    """Something was left, or failed."""


class Refused(Exception):
    """It cannot begin."""


class Process:
    """A server that runs: one generation of its name."""

    def __init__(self, soak, name, generation):
        self.name, self.generation, self.kinds = name, generation, frozenset()
        self.first_port = soak.port + PORTS * list(SERVERS).index(name)
        self.stats = f"{soak.out}/{name}-{generation}.ndjson"
        self.log = f"{soak.out}/{name}-{generation}.log"
        self.cores = len(os.sched_getaffinity(0))
        self.lines = self.read = 0
        self.last = {}
        command = [f"{soak.bin}/megaconn", "serve", "--listen", self.listen(), "--stats", self.stats,
                   "--stats-every", "1h", *shlex.split(SERVERS[name].flags.format(**soak.fields))]
        self.child = soak.start(command, self.log)
        soak.until(30, lambda: said(self.log, "listening on") and self.tick() >= self.cores,
                   f"server {name} does not start: see {self.log}", self)

    def listen(self):
        return f"127.0.0.1:{self.first_port}-{self.first_port + PORTS - 1}"

    def is_alive(self):
        return self.child.poll() is None

    def tick(self):
        """Reads what is new of its figures; the number of lines so far."""
        with open(self.stats, "rb") as file:
            file.seek(self.read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self.read += len(line)
                self.lines += 1
                line = json.loads(line)
                self.last[line["core"]] = line
        return self.lines

    def figures(self, soak):
        """Its figures now, over all cores."""
        before = self.tick()
        self.child.send_signal(signal.SIGUSR1)
        soak.until(30, lambda: self.tick() >= before + self.cores, f"server {self.name} writes no figures", self)
        return self.totals()

    def totals(self):
        total = collections.Counter()
        for line in self.last.values():
            total.update({name: value for name, value in line.items() if isinstance(value, int)})
        total["process_open_files"] = next(iter(self.last.values()))["process_open_files"]
        return total

    def resident(self):
        """Bytes without its pools of buffers, then those. A pool keeps every page that it ever needed at once: a
        high-water mark and no leak. It is the only large mapping without huge pages that is in core files."""
        bytes_of, size, here = [0, 0], 0, 0
        with open(f"/proc/{self.child.pid}/smaps") as file:
            for line in file:
                if line.startswith("Size:"):
                    size = int(line.split()[1]) << 10
                elif line.startswith("Rss:"):
                    here = int(line.split()[1]) << 10
                elif line.startswith("VmFlags:"):
                    flags = line.split()
                    bytes_of[size >= POOL_BYTES and "nh" in flags and "dd" not in flags] += here
        return bytes_of

    def sockets(self):
        """Listening sockets at its ports, and all that are in no TIME_WAIT, of either end."""
        ports = {f"{port:04X}" for port in range(self.first_port, self.first_port + PORTS)}
        listening = others = 0
        with open("/proc/net/tcp") as file:
            for line in file:
                fields = line.split(None, 4)
                if fields[1][-4:] in ports or fields[2][-4:] in ports:
                    listening += fields[3] == "0A"
                    others += fields[3] not in ("0A", "06")
        return listening, others


def said(log, what):
    with open(log) as file:
        return any(line.startswith(what) for line in file)


class Soak:
    def __init__(self, bin, out, port, connections, deadline):
        self.bin, self.out, self.port, self.connections, self.deadline = bin, out, port, connections, deadline
        # At which second all are open for sure; 100,000 connections of WebSocket take some 10 s.
        late = 5 + connections // 6000
        self.fields = {"out": out, "late": late, "long": late + 5, "hold": 8 + connections // 20000}
        self.children, self.running, self.ended = [], {}, {name: collections.Counter() for name in SERVERS}
        self.smallest, self.rows, self.compared = {}, [], 0

    def start(self, command, log, out=subprocess.DEVNULL):
        with open(log, "w") as file:
            # A session of its own: Ctrl-C is for this script, which ends them in order.
            child = subprocess.Popen(command, stdout=out, stderr=file, stdin=subprocess.DEVNULL,
                                     start_new_session=True)
        self.children.append(child)
        return child

    def until(self, seconds, is_so, otherwise, process=None):
        end = time.monotonic() + seconds
        while not is_so():
            if process and not process.is_alive():
                if not self.rows and said(process.log, "error:"):
                    raise Refused(next(line.strip() for line in open(process.log) if line.startswith("error:")))
                raise Failed(f"server {process.name} died: see {process.log}")
            if time.monotonic() > end:
                raise Failed(otherwise() if callable(otherwise) else otherwise)
            time.sleep(0.1)

    def wait(self, child, seconds):
        try:
            status = child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"{' '.join(child.args[:2])} does not end within {seconds} s") from None
        self.children.remove(child)
        return status

    def replace(self, name):
        """A new process of a server takes over from the one that runs."""
        older = self.running[name]
        self.running[name] = Process(self, name, older.generation + 1)
        self.retire(older, {0})

    def retire(self, process, allowed):
        status = self.wait(process.child, 30)
        process.tick()
        last = process.totals()
        if status not in allowed:
            raise Failed(f"server {process.name}, generation {process.generation}, ended with status {status}")
        if last["accepted_total"] != last["closed_total"]:
            raise Failed(f"server {process.name} ended with {last['accepted_total']} accepted, "
                         f"and {last['closed_total']} closed")
        self.ended[process.name].update(last)

    def totals(self, name):
        """Figures of all generations of a server: counters add up, and gauges are of the one that runs."""
        now = self.running[name].figures(self)
        return collections.Counter({
            figure: value + (self.ended[name][figure] if figure.endswith("_total") else 0)
            for figure, value in now.items()})

    def act(self, what, kind, client):
        """What is done while the client holds. The orders of texts to all."""
        process, orders = self.running[kind.server], []
        log = f"{self.out}/{kind.name}.log"
        self.until(120, lambda: said(log, "holding") or client.poll() is not None, f"the client does not hold: {log}")
        time.sleep(2)
        if what == "replace":
            self.replace(kind.server)
        elif what == "kill":
            client.kill()
        elif what == "broadcast":
            for number in range(3):
                order = subprocess.run([f"{self.bin}/megaconn", "broadcast", f"{self.out}/push.sock", "--format",
                                        "json", f"text {number}"], capture_output=True, text=True, timeout=90)
                if order.returncode:
                    raise Failed(f"the order of text {number} ended with status {order.returncode}: {order.stderr}")
                orders.append(json.loads(order.stdout))
        return orders

    def cycle(self, kind, close):
        began = time.monotonic()
        if kind.before == "replace":
            self.replace(kind.server)
        server, process = SERVERS[kind.server], self.running[kind.server]
        before = self.totals(kind.server)
        connections = max(1, int(self.connections * kind.part))
        fields = self.fields | {"most": connections * 9 // 10}
        for file in RUN_FILES:
            if os.path.exists(f"{self.out}/{file}"):
                os.unlink(f"{self.out}/{file}")
        command = [f"{self.bin}/megaconn-client", "run", "--target", f"{server.scheme}://{process.listen()}",
                   "--connections", str(connections), "--close", close, "--out", self.out,
                   *shlex.split(f"{kind.flags} {server.client}".format(**fields))]
        with open(f"{self.out}/{kind.name}.txt", "w") as summary:
            client = self.start(command, f"{self.out}/{kind.name}.log", summary)
        orders = self.act(kind.during, kind, client) if kind.during else []
        status = self.wait(client, 600)
        is_killed = kind.during == "kill"
        if status != (-signal.SIGKILL if is_killed else 0):
            raise Failed(f"the client ended with status {status}; see {self.out}/{kind.name}.txt and .log")
        process = self.running[kind.server]
        after = self.until_empty(process)
        counted = collections.Counter() if is_killed else self.account(kind, connections, before, after, orders)
        process.kinds |= {kind.name}
        (resident, pools), sockets, files = process.resident(), process.sockets(), after["process_open_files"]
        self.rows.append({
            "cycle": len(self.rows) + 1, "kind": kind.name, "server": kind.server, "generation": process.generation,
            "close": close, "seconds": round(time.monotonic() - began),
            **{name: counted[name] for name in (
                "established", "failed", "lost", "dropped", "returned", "messages", "late", "short")},
            "accepted": after["accepted_total"], "closed": after["closed_total"],
            "resident_bytes": resident, "pool_bytes": pools, "open_files": files, "sockets": sum(sockets)})
        self.write_row()
        self.compare(process, resident, files, sockets[0])

    def until_empty(self, process):
        """The figures of all generations when nothing is held any more, neither by the server nor by the kernel."""
        figures = {}

        def left():
            figures.update(self.totals(process.name))
            gauges = ("connections", "buffers_used", "buffers_awaited", "sends_stalled", "handshakes_under_way",
                      "handshakes_waiting")
            held = {name: figures[name] for name in gauges if figures[name]}
            # An empty segment is given back after two seconds; each core keeps one.
            if figures["segments"] > process.cores:
                held["segments"] = figures["segments"]
            if figures["accepted_total"] != figures["closed_total"]:
                held |= {name: figures[name] for name in ("accepted_total", "closed_total")}
            return held or {name: n for name, n in [("sockets", process.sockets()[1])] if n}

        self.until(EMPTY_WITHIN, lambda: not left(), lambda: f"after {EMPTY_WITHIN} s there are left {left()}", process)
        return collections.Counter(figures)

    def account(self, kind, connections, before, after, orders):
        """Every connection and every message, by what both ends have counted."""
        result = json.load(open(f"{self.out}/result.json"))
        cores = {}
        for line in open(f"{self.out}/client.ndjson"):
            line = json.loads(line)
            cores[line["core"]] = line
        client = collections.Counter()
        for line in cores.values():
            client.update({name: value for name, value in line.items() if isinstance(value, int)})
        served = {name: after[name] - before[name] for name in after if name.endswith("_total")}
        plateau = result["plateaus"][0]
        churn = plateau["churn"] or {"failed": {}, "lost": {}, "unfinished": 0}
        back = plateau["reconnect"] or {"returned": 0, "given_up": 0, "waiting": 0}
        lived = plateau["lifetimes"] or {"departures": 0, "arrivals": 0, "waiting": 0}
        lost, dropped = sum(result["lost"].values()), result["dropped"] or 0
        tried = (client["connect_failed_total"] + client["connect_undone_total"] + client["churn_failed_total"]
                 + client["reconnect_tries_total"] - client["returned_total"]
                 + client["arrival_tries_total"] - client["arrivals_total"])
        made = (client["connected_total"] - client["connect_undone_total"]
                + client["churn_started_total"] - client["churn_failed_total"])
        # Before a run one connection to each port shows that it listens, and after losses some ask what became of it.
        accepted, asked = served["accepted_total"] - PORTS, ASKED_AFTERWARDS if lost + tried else 0
        unanswered = client["messages_sent_total"] - client["messages_total"]
        # By the server's doing; and after some vanished a few others have been seen to be lost.
        is_lossy = "replace" in (kind.before, kind.during) or "vanishing" in kind.flags
        expectations = [
            (made <= accepted <= made + tried + asked, f"{accepted} accepted of {made} made and {tried} that failed"),
            (lost + dropped == back["returned"] + back["given_up"] + back["waiting"],
             f"{lost} lost and {dropped} dropped, but {back} came back, were given up or wait"),
            (is_lossy or lost == 0, f"{lost} lost, and nothing but the client dropped any: {result['lost']}"),
            (back["given_up"] + back["waiting"] == 0, f"not all came back: {back}"),
            # Those wait whose turn it was when the hold ended.
            (lived["departures"] - lived["arrivals"] == lived["waiting"] <= connections // 100,
             f"places are not filled: {lived}"),
            (not churn["failed"] and not churn["lost"] and not churn["unfinished"], f"short connections: {churn}"),
            (client["messages_mismatched_total"] == 0, f"{client['messages_mismatched_total']} messages mismatched"),
            (0 <= unanswered <= lost + dropped, f"{unanswered} messages unanswered on {lost} + {dropped} connections"),
            (client["connections"] == 0 and client["buffers_used"] == 0, "the client's last figures hold something"),
        ]
        is_whole = lost + dropped + tried == 0
        received, sent = served["recv_bytes_total"], served["send_bytes_total"]
        if SERVERS[kind.server].scheme == "tcp":
            bytes_of = (client["send_bytes_total"], received, sent, client["recv_bytes_total"])
            # What was under way when a connection went has come, and its send was never seen to be done.
            most = MESSAGE_BYTES * (lost + dropped)
            is_right = bytes_of[0] + most >= bytes_of[1] and bytes_of[2] + most >= bytes_of[3]
            if is_whole:
                is_right = bytes_of[0] == bytes_of[1] and bytes_of[2] == bytes_of[3]
            expectations.append((is_right, "bytes sent, received, sent back, received: %d, %d, %d, %d" % bytes_of))
        else:
            agreed = served["handshakes_total"]
            is_right = agreed == made if is_whole else made <= agreed <= made + tried
            expectations.append((is_right, f"{agreed} handshakes of {made} connections"))
        if kind.during == "broadcast":
            texts = result["broadcasts"]
            reached = [text["reached"] for text in texts["texts"]]
            expectations += [
                (reached == [connections] * len(orders) and texts["missed"] == texts["beyond"] == 0,
                 f"{len(orders)} texts to {connections} reached {reached}, {texts['missed']} missed"),
                (served["broadcast_sent_total"] == client["broadcasts_received_total"],
                 f"{served['broadcast_sent_total']} texts sent, {client['broadcasts_received_total']} received"),
            ]
        for holds, otherwise in expectations:
            if not holds:
                raise Failed(otherwise)
        return collections.Counter({
            "established": result["established"], "failed": tried, "lost": lost, "dropped": dropped,
            "returned": back["returned"], "late": client["messages_late_total"], "short": client["churned_total"],
            "messages": client["messages_total"] + client["broadcasts_received_total"]})

    def compare(self, process, resident, files, listening):
        """Against the first process of this server that had done the same kinds of work, itself or an earlier one."""
        key = (process.name, process.kinds)
        if key not in self.smallest:
            self.smallest[key] = (len(self.rows), resident, files, listening)
            return
        self.compared += 1
        cycle, resident_first, files_first, listening_first = self.smallest[key]
        if resident > resident_first + resident_first // 20 + (1 << 20):
            raise Failed(f"{resident} resident bytes beside the pools, {resident_first} after cycle {cycle}")
        if files > files_first or listening > listening_first:
            raise Failed(f"{files} open files and {listening} listening sockets, "
                         f"{files_first} and {listening_first} after cycle {cycle}")

    def write_row(self):
        row = self.rows[-1]
        with open(f"{self.out}/soak.csv", "w" if len(self.rows) == 1 else "a", newline="") as file:
            writer = csv.DictWriter(file, row, lineterminator="\n")
            if len(self.rows) == 1:
                writer.writeheader()
                print(",".join(row), file=sys.stderr)
            writer.writerow(row)
        print(",".join(map(str, row.values())), file=sys.stderr, flush=True)

    def run(self, kinds):
        for name in dict.fromkeys(kind.server for kind in kinds):
            self.running[name] = Process(self, name, 0)
        longest, round = 0, 0
        while True:
            for kind in kinds:
                if self.rows and time.monotonic() + longest >= self.deadline:
                    return
                try:
                    self.cycle(kind, ("fin", "reset")[round % 2])
                except Failed as failed:
                    raise Failed(f"cycle {len(self.rows) + 1}, {kind.name}: {failed}") from None
                longest = max(longest, self.rows[-1]["seconds"])
            round += 1

    def finish(self):
        for process in self.running.values():
            process.child.terminate()
            # 143 is what it says after the signal that ends it.
            self.retire(process, {143})

    def end_all(self):
        for child in reversed(self.children):
            if child.poll() is None:
                child.terminate()
                try:
                    child.wait(60)
                except subprocess.TimeoutExpired:
                    child.kill()

    def summary(self):
        total = lambda name: sum(row[name] for row in self.rows)
        line = lambda name, text: print(f"{name:>16}  {text}")
        line("cycles", f"{len(self.rows)}, {self.compared} of them compared with an earlier one")
        last = [totals for totals in self.ended.values() if totals]
        accepted, closed = (sum(totals[name] for totals in last) for name in ("accepted_total", "closed_total"))
        line("connections", f"{accepted:,} accepted, {closed:,} closed")
        line("messages", f"{total('messages'):,} verified, {total('late'):,} late; {total('short'):,} short connections")
        line("gone and back", f"{total('lost'):,} lost, {total('dropped'):,} dropped, {total('returned'):,} returned")
        line("failed tries", f"{total('failed'):,}")
        for name, process in self.running.items():
            rows = [row for row in self.rows if row["server"] == name]
            kib = ", ".join(str(row["resident_bytes"] // 1024) for row in rows)
            line(name, f"{process.generation + 1} processes; resident {kib} KiB beside the pools")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("bin", "out"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("port", "connections", "seconds"):
        parser.add_argument(f"--{name}", required=True, type=int)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    only = asked.only.split(",") if asked.only else [kind.name for kind in KINDS]
    unknown = set(only) - {kind.name for kind in KINDS}
    if unknown:
        print(f"error: --only {','.join(unknown)} is no kind; fix: some of {','.join(k.name for k in KINDS)}",
              file=sys.stderr)
        sys.exit(2)
    soak = Soak(asked.bin, asked.out, asked.port, asked.connections, time.monotonic() + asked.seconds)
    try:
        soak.run([kind for kind in KINDS if kind.name in only])
        soak.finish()
    except Refused as refused:
        print(refused, file=sys.stderr)
        sys.exit(2)
    except Failed as failed:
        print(f"FAILED: {failed}; see {asked.out}", file=sys.stderr)
        sys.exit(1)
    finally:
        soak.end_all()
    soak.summary()
    if not soak.compared:
        print(f"warning: {len(soak.rows)} cycles show no growth; fix: more --minutes", file=sys.stderr)


main()
