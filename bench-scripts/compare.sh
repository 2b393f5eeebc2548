#!/usr/bin/env bash
# The baseline beside this server: echo of 64-byte messages on busy connections, one server core,
# the same client on another core, alternating runs, medians and spread of the ratios.
set -euo pipefail

usage() {
    cat <<'EOF'
usage: compare.sh [--connections N] [--messages N] [--runs N] [--out FILE]

  --connections N   busy connections                                    [default: 500]
  --messages N      messages on each connection, one after the other    [default: 8000]
  --runs N          runs of each server, alternating                    [default: 5]
  --out FILE        where the figures of every run go, as CSV           [default: none]

It needs two CPUs: the server runs on the first that is allowed, the client on the second.
EOF
}

refuse() {
    echo "error: $1" >&2
    exit 2
}

connections=500 messages=8000 runs=5 out=/dev/null
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --connections | --messages | --runs | --out)
            [ $# -ge 2 ] || refuse "$1 needs a value; fix: see compare.sh --help"
            declare "${1#--}=$2" && shift 2
            ;;
        *) refuse "unknown argument $1; fix: see compare.sh --help" ;;
    esac
done
for tool in cargo cc python3; do
    command -v "$tool" >/dev/null || refuse "$tool is missing; fix: apt-get install $tool"
done

root=$(cd "$(dirname "$0")/.." && pwd)
[ "$out" = /dev/null ] || out=$(realpath "$out")
cd "$root"
cargo build --release --locked --quiet
bin=$(realpath "${CARGO_TARGET_DIR:-target}")/release
work=$(mktemp -d)
server=''
# shellcheck disable=SC2317  # called by the trap
end_all() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    wait
    rm -rf "$work"
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cc -O2 -Wall -Wextra -o "$work/epoll-echo" "$root/bench-scripts/baselines/epoll-echo.c"

mapfile -t cpus < <(python3 -c 'import os; print(*sorted(os.sched_getaffinity(0)), sep="\n")')
[ "${#cpus[@]}" -ge 2 ] || refuse "only CPU ${cpus[0]} is allowed; fix: run on two CPUs"
port=7100

# CPU time of the server so far, in clock ticks.
ticks() {
    awk '{print $14 + $15}' "/proc/$server/stat"
}

# One run: $1 is the server's name, the rest its command line.
measure() {
    local name=$1 before after
    shift
    "$@" 2>"$work/server.log" &
    server=$!
    for _ in $(seq 100); do
        ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
        sleep 0.05
    done
    kill -0 "$server" 2>/dev/null || refuse "$name did not start: $(tail -n 1 "$work/server.log")"
    before=$(ticks)
    "$bin/megaconn-client" run --cores "${cpus[1]}" --target "127.0.0.1:$port" --hold 0s \
        --connections "$connections" --message-count "$messages" --out "$work" >/dev/null 2>"$work/client.log" ||
        refuse "the client failed: $(grep '^error:' "$work/client.log" || tail -n 1 "$work/client.log")"
    after=$(ticks)
    kill "$server"
    wait "$server" 2>/dev/null || true
    server=''
    python3 - "$name" $((after - before)) "$(getconf CLK_TCK)" "$work/result.json" <<'EOF' | tee -a "$work/runs.csv"
import json, sys
name, ticks, hz, path = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
messages = json.load(open(path))["plateaus"][0]["messages"]
n, latency = messages["received"], messages["latency_us"]
print(name, n, round(n / messages["seconds"]), round(ticks / hz / n * 1e6, 3), latency["p50"], latency["p99"], sep=",")
EOF
}

echo "server,messages,messages_per_s,server_cpu_us_per_message,p50_us,p99_us" | tee "$work/runs.csv"
for _ in $(seq "$runs"); do
    measure megaconn "$bin/megaconn" serve --cores "${cpus[0]}" --listen "127.0.0.1:$port"
    measure epoll "$work/epoll-echo" "$port" "${cpus[0]}"
done
python3 - "$work/runs.csv" <<'EOF'
import csv, statistics, sys
rows = list(csv.DictReader(open(sys.argv[1])))
ours, theirs = ([row for row in rows if row["server"] == name] for name in ("megaconn", "epoll"))
for key, better in (("messages_per_s", "higher"), ("server_cpu_us_per_message", "lower")):
    a, b = ([float(row[key]) for row in side] for side in (ours, theirs))
    pairs = sorted(x / y for x, y in zip(a, b))
    print(f"{key}: megaconn {statistics.median(a):g}, epoll {statistics.median(b):g} (medians); "
          f"ratio of medians {statistics.median(a) / statistics.median(b):.3f}, of pairs "
          f"{statistics.median(pairs):.3f} [{pairs[0]:.3f} .. {pairs[-1]:.3f}]; {better} is better")
EOF
[ "$out" = /dev/null ] || cp "$work/runs.csv" "$out"
