#!/usr/bin/env bash
# Short connections: connect, one 64-byte message, its echo, FIN. This server and client beside a
# plain Go server and client, alternating runs, both ends on all CPUs, medians and spread of the
# ratios.
set -euo pipefail

usage() {
    cat <<'EOF'
usage: churn.sh [--seconds N] [--runs N] [--rate N] [--go-workers N] [--go-processes N]
                [--go-listeners N] [--only megaconn|go] [--out FILE]

  --seconds N       length of a run                                     [default: 10]
  --runs N          runs of each pair, alternating                      [default: 5]
  --rate N          connections a second asked of both pairs, to compare their latency and
                    CPU time under the same load   [default: each pair as fast as it goes]
  --go-workers N    connections in flight in the Go clients together    [default: 64]
  --go-processes N  Go servers, and Go clients; more if the limit on descriptors asks for it
                                                                        [default: 2]
  --go-listeners N  listening sockets in each Go server                 [default: 1]
  --only NAME       run one of the pairs: megaconn, go                  [default: both]
  --out FILE        where the figures of every run go, as CSV           [default: none]

Uses ports 7200-7216 of 127.0.0.1. CPU time is that of both ends, user and system. Compare
latencies only under a --rate that both reach: without it megaconn is asked for far more than it can
do, while a Go worker begins a connection only when its last one has ended. Under a --rate the Go
client counts from when a connection was due, and its sleeps are up to a millisecond too long.
EOF
}

refuse() {
    echo "error: $1" >&2
    exit 2
}

# 64 workers in two processes is the Go pair's best on two CPUs: 32 to 128 are within noise of each
# other (more only queue), a second process was up to a tenth faster, GOGC and GOMAXPROCS were even.
seconds=10 runs=5 rate='' go_workers=64 go_processes=2 go_listeners=1 only='' out=/dev/null
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --seconds | --runs | --rate | --go-workers | --go-processes | --go-listeners | --only | --out)
            [ $# -ge 2 ] || refuse "$1 needs a value; fix: see churn.sh --help"
            name=${1#--}
            declare "${name//-/_}=$2" && shift 2
            ;;
        *) refuse "unknown argument $1; fix: see churn.sh --help" ;;
    esac
done
for name in seconds runs go_workers go_processes go_listeners ${rate:+rate}; do
    [[ ${!name} =~ ^[1-9][0-9]*$ ]] ||
        refuse "--${name//_/-} ${!name} is not a whole number of 1 or more; fix: see churn.sh --help"
done
# Two runs' source networks differ only if they start two seconds apart (network, below).
[ "$seconds" -ge 2 ] || refuse "--seconds $seconds is too short; fix: 2 or more"
case $only in
    '' | megaconn | go) ;;
    *) refuse "--only $only is neither megaconn nor go; fix: see churn.sh --help" ;;
esac
for tool in cargo cc go python3; do
    package=$tool
    [ "$tool" != go ] || package=golang-go
    [ "$tool" != cc ] || package=gcc
    command -v "$tool" >/dev/null || refuse "$tool is missing; fix: apt-get install $package"
done
# A Go server has up to two descriptors for each worker, the connection and the one before it that
# it has not closed yet, and some for itself.
limit=$(ulimit -n)
if [ "$limit" != unlimited ]; then
    [ "$limit" -ge 128 ] || refuse "$limit descriptors are too few; fix: ulimit -n 1024"
    asked=$(((2 * go_workers + limit - 65) / (limit - 64)))
    go_processes=$((asked > go_processes ? asked : go_processes))
fi
# Each Go client has a /20 of the run's /16 for its source addresses.
[ "$go_processes" -le 16 ] || refuse "$go_processes Go processes are too many; fix: ulimit -n 65536"
[ "$go_workers" -ge "$go_processes" ] ||
    refuse "$go_workers workers are fewer than processes; fix: --go-workers $go_processes"

root=$(cd "$(dirname "$0")/.." && pwd)
[ "$out" = /dev/null ] || out=$(realpath "$out")
work=$(mktemp -d)
servers=() clients=()
# shellcheck disable=SC2317  # called by the trap
end_all() {
    for pid in "${clients[@]}" "${servers[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
    wait
    rm -rf "$work"
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

(cd "$root/bench-scripts/baselines/go-churn" && go build -buildvcs=false -o "$work/go-churn" .)
if [ "$only" != go ]; then
    cd "$root"
    cargo build --release --locked --quiet
    bin=$(realpath "${CARGO_TARGET_DIR:-target}")/release
    [[ $("$bin/megaconn-client" run --help) == *--churn* ]] ||
        refuse "this megaconn-client has no --churn; fix: a newer commit, or --only go"
fi

# No connection meets one of an earlier run in TIME_WAIT: a run's source addresses are a /16 of
# 127.0.0.0/8 chosen by the clock, which comes around after 500 s, and TIME_WAIT lasts 60 s. Within
# a run the clients have all of its 65,534 addresses with 28,232 ports each: at 60,000 connections a
# second they last eight hours. 127.0.0.0/16 is left out, because the servers are in it.
network() {
    echo "127.$((1 + $(date +%s) / 2 % 250))"
}

# Sockets in TIME_WAIT. The kernel keeps net.ipv4.tcp_max_tw_buckets of them and lets those above
# go at once, which is less work. So that every run begins with the same, a first run that is not
# counted fills the table (at the end of this script); the figures show how full it was.
time_wait() {
    awk '/^TCP:/ {print $7}' /proc/net/sockstat
}

# Sockets that found no room there so far.
overflows() {
    python3 - <<'EOF'
lines = [line.split() for line in open("/proc/net/netstat") if line.startswith("TcpExt:")]
print(dict(zip(*lines))["TCPTimeWaitOverflow"])
EOF
}

# CPU time so far of all children that this shell has waited for, in clock ticks.
waited_ticks() {
    awk '{print $16 + $17}' "/proc/$$/stat"
}

# CPU time of the servers so far, in clock ticks.
server_ticks() {
    local pid paths=()
    for pid in "${servers[@]}"; do
        paths+=("/proc/$pid/stat")
    done
    awk '{sum += $14 + $15} END {print sum}' "${paths[@]}"
}

# Waits until port $2 answers; $1 is the server's name.
await() {
    local pid
    for _ in $(seq 100); do
        ! (exec 3<>"/dev/tcp/127.0.0.1/$2") 2>/dev/null || break
        sleep 0.05
    done
    for pid in "${servers[@]}"; do
        kill -0 "$pid" 2>/dev/null || refuse "$1 did not start: $(tail -qn 1 "$work"/server*.log)"
    done
}

start_megaconn() {
    "$bin/megaconn" serve --listen 127.0.0.1:7200-7215 2>"$work/server.log" &
    servers=($!)
    await megaconn 7200
}

# 200,000/s is far above what two CPUs can do for both ends: the rate that is reached is the limit.
clients_megaconn() {
    "$bin/megaconn-client" run --target 127.0.0.1:7200-7215 --source "$1.0.0/16" \
        --churn "${rate:-200000}/s" --hold "${seconds}s" --out "$work" \
        >/dev/null 2>"$work/client.log" &
    clients=($!)
}

start_go() {
    local i
    servers=()
    for ((i = 0; i < go_processes; i++)); do
        "$work/go-churn" server --listen 127.0.0.1:7216 --listeners "$go_listeners" \
            2>"$work/server-$i.log" &
        servers+=($!)
    done
    await go 7216
}

clients_go() {
    local i share
    clients=()
    for ((i = 0; i < go_processes; i++)); do
        # The remainder of the division goes to the first, one each.
        share=$((go_workers / go_processes + (i < go_workers % go_processes ? 1 : 0)))
        "$work/go-churn" client --target 127.0.0.1:7216 --source "$1.$((i * 16)).0/20" \
            --seconds "$seconds" --workers "$share" --rate "$go_rate" \
            >"$work/client-$i.json" 2>>"$work/client.log" &
        clients+=($!)
    done
}
go_rate=$(python3 -c "print(${rate:-0} / $go_processes)")

# One run: $1 is the pair's name.
measure() {
    local name=$1 pid status ticks servers_before waited_before overflows_before time_wait_before
    rm -f "$work"/*.json "$work"/*.log
    "start_$name"
    time_wait_before=$(time_wait) overflows_before=$(overflows)
    servers_before=$(server_ticks) waited_before=$(waited_ticks)
    "clients_$name" "$(network)"
    for pid in "${clients[@]}"; do
        status=0
        wait "$pid" || status=$?
        # 1 is a run with failures, which its figures show.
        [ "$status" -le 1 ] || refuse "the $name client failed: $(
            grep '^error:' "$work/client.log" || tail -n 1 "$work/client.log"
        )"
    done
    clients=()
    # The servers have not been waited for: what was since then is the clients (and awk, a tick).
    ticks=$(($(waited_ticks) - waited_before + $(server_ticks) - servers_before))
    for pid in "${servers[@]}"; do
        kill "$pid"
        wait "$pid" 2>/dev/null || true
    done
    servers=()
    python3 - "$name" "$ticks" "$(getconf CLK_TCK)" "$time_wait_before" \
        $(($(overflows) - overflows_before)) "$work" <<'EOF' >"$work/row"
import collections, glob, json, sys
name, ticks, hz, time_wait, overflows, work = sys.argv[1:]
if name == "megaconn":
    parts = [json.load(open(f"{work}/result.json"))["plateaus"][0]["churn"]]
else:
    parts = [json.load(open(path)) for path in glob.glob(f"{work}/client-*.json")]


# One CSV field, like "ECONNREFUSED=3;EMFILE=1".
def sums(key):
    total = collections.Counter()
    for part in parts:
        total.update(part[key])
    return ";".join(f"{what}={n}" for what, n in sorted(total.items()) if n) or 0


# Of several clients it is the percentile of their histograms added up.
def percentile(key, percent):
    if len(parts) == 1:
        return (parts[0][key] or {}).get(f"p{percent}", "")
    steps = collections.Counter()
    for part in parts:
        steps.update(dict(part[key + "_le"]))
    seen = 0
    for value, n in sorted(steps.items()):
        seen += n
        if seen * 100 >= percent * sum(steps.values()):
            return value
    return ""


n = sum(part["completed"] for part in parts)
print(name, n, round(sum(part["rate_per_s"] for part in parts)),
      round(int(ticks) / int(hz) / n * 1e6, 2) if n else "",
      percentile("latency_us", 50), percentile("latency_us", 99),
      percentile("connect_latency_us", 50), percentile("connect_latency_us", 99),
      sums("failed"), sums("lost"), time_wait, overflows, sep=",")
EOF
}

pairs=(megaconn go)
[ -z "$only" ] || pairs=("$only")
columns=(pair connections connections_per_s cpu_us_per_connection p50_us p99_us connect_p50_us
    connect_p99_us failed lost time_wait_before time_wait_overflows)
(IFS=, && echo "${columns[*]}") | tee "$work/runs.csv"
measure "${pairs[-1]}" # Not counted, see time_wait.
for _ in $(seq "$runs"); do
    for pair in "${pairs[@]}"; do
        measure "$pair"
        tee -a "$work/runs.csv" <"$work/row"
    done
done
python3 - "$work/runs.csv" <<'EOF'
import csv, statistics, sys
rows = list(csv.DictReader(open(sys.argv[1])))
sides = {name: [row for row in rows if row["pair"] == name] for name in ("megaconn", "go")}
sides = {name: side for name, side in sides.items() if side}
for key, better in (("connections_per_s", "higher"), ("cpu_us_per_connection", "lower"),
                    ("p50_us", "lower"), ("p99_us", "lower")):
    values = {name: [float(row[key] or "nan") for row in side] for name, side in sides.items()}
    medians = {name: statistics.median(each) for name, each in values.items()}
    line = ", ".join(f"{name} {median:g}" for name, median in medians.items()) + " (medians)"
    if len(sides) == 2:
        pairs = sorted(x / y if y else float("nan") for x, y in zip(*values.values()))
        line += (f"; ratio of medians {medians['megaconn'] / (medians['go'] or float('nan')):.3f}, of pairs "
                 f"{statistics.median(pairs):.3f} [{pairs[0]:.3f} .. {pairs[-1]:.3f}]")
    else:
        line += " [{:g} .. {:g}]".format(min(*values.values()), max(*values.values()))
    print(f"{key}: {line}; {better} is better")
EOF
[ "$out" = /dev/null ] || cp "$work/runs.csv" "$out"
