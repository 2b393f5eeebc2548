#!/usr/bin/env bash
# What one server survives, one trial after the other: a client killed at full height, connects and
# resets all at once, cycles of opening and closing, a host without files. After each trial the
# server must be empty again, and a small run against it must meet its target.
set -euo pipefail

usage() {
    cat <<'EOF'
usage: survive.sh [--connections N] [--storm N] [--cycle N] [--cycles N] [--enfile] [--out DIR]

  --connections N   held when the client is killed                       [default: 1000000]
  --storm N         connects, then resets, at once                       [default: 100000]
  --cycle N         connections of one cycle of opening and closing      [default: 200000]
  --cycles N        cycles                                               [default: 10]
  --enfile          also a host without files: as root, fs.file-max is lowered for some seconds and
                    restored, and the server runs as `nobody`
  --out DIR         where figures and logs go                            [default: runs/survive-DATE]

Exit status: 0 the server survived everything; 1 it did not; 2 refused before starting.
EOF
}

refuse() {
    echo "error: $1" >&2
    exit 2
}

connections=1000000 storm=100000 cycle=200000 cycles=10 enfile='' out=''
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --enfile) enfile=yes && shift ;;
        --connections | --storm | --cycle | --cycles | --out)
            [ $# -ge 2 ] || refuse "$1 needs a value; fix: see survive.sh --help"
            declare "${1#--}=$2" && shift 2
            ;;
        *) refuse "unknown argument $1; fix: see survive.sh --help" ;;
    esac
done
for name in connections storm cycle cycles; do
    [[ ${!name} =~ ^[1-9][0-9]*$ ]] || refuse "--$name ${!name} is no count; fix: see survive.sh --help"
done
for tool in cargo cc python3; do
    command -v "$tool" >/dev/null || refuse "$tool is missing; fix: apt-get install $tool"
done
if [ -n "$enfile" ]; then
    [ "$(id -u)" = 0 ] || refuse "--enfile lowers fs.file-max; fix: run as root, or without it"
    command -v setpriv >/dev/null || refuse "setpriv is missing; fix: apt-get install util-linux"
fi

root=$(cd "$(dirname "$0")/.." && pwd)
out=${out:-$root/runs/survive-$(date +%Y%m%d-%H%M%S)}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$root"
cargo build --release --locked --quiet
bin=$(realpath "${CARGO_TARGET_DIR:-target}")/release
ports=7600-7615
server='' client='' file_max=''

# shellcheck source=bench-scripts/sockets.sh
. bench-scripts/sockets.sh
sockets_before=$(sockets)

# shellcheck disable=SC2317,SC2329  # called by the traps
end_all() {
    [ -z "$file_max" ] || echo "$file_max" >/proc/sys/fs/file-max
    for pid in $client $server; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    client='' server='' file_max=''
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
    echo "FAILED: $1; see $out" >&2
    exit 1
}

# A figure of the server, over all cores, as it stood last.
figure() {
    tail -n 200 "$out/server.ndjson" | python3 -c '
import json, sys
last = {}
for line in sys.stdin:
    if line.endswith("}\n"):
        line = json.loads(line)
        last[line["core"]] = line
values = [line[sys.argv[1]] for line in last.values()]
print(values[0] if sys.argv[1].startswith("process_") else sum(values))
' "$1"
}

# Starts the server, by way of the command given.
start_server() {
    rm -f "$out/server.ndjson"
    # The file is there for a server that may not make it.
    install -m 666 /dev/null "$out/server.ndjson"
    "$@" "$bin/megaconn" serve --listen "127.0.0.1:$ports" --stats "$out/server.ndjson" \
        --stats-every 200ms 2>"$out/server.log" &
    server=$!
    for _ in $(seq 100); do
        # The second look is for the first line of figures.
        ! grep -q '^listening on' "$out/server.log" || ! [ -s "$out/server.ndjson" ] || return 0
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    refuse "the server did not start: $(grep '^error:' "$out/server.log" || true)"
}

# Waits until the server's figure $1 compares so ($2) with $3, for at most $4 seconds.
until_figure() {
    local began=$SECONDS
    while kill -0 "$server" 2>/dev/null || fail "the server died"; do
        ! test "$(figure "$1")" "$2" "$3" || return 0
        [ $((SECONDS - began)) -lt "${4:-120}" ] || fail "$1 is $(figure "$1"), not $2 $3"
        sleep 0.2
    done
}

# How often the kernel has found an accept queue full.
listen_overflows() {
    awk '/^TcpExt:/ && !seen++ {split($0, names)} /^TcpExt:/ {for (i in names) if (names[i] == "ListenOverflows") n = $i}
         END {print n}' /proc/net/netstat
}

# Runs a client to its end; its summary goes to NAME.txt.
run_client() {
    local name=$1
    shift
    [ "$1" = --target ] || set -- --target "127.0.0.1:$ports" "$@"
    "$bin/megaconn-client" run --out "$out" "$@" \
        >"$out/$name.txt" 2>"$out/$name.log"
}

# The server serves as if nothing had been, and the kernel has taken the old sockets down.
must_serve() {
    until_figure connections -eq 0
    run_client after --connections 10k --hold 1s --sweep || fail "after $1 a small run failed"
    until_figure connections -eq 0
    await_sockets "$sockets_before" 600 10000
}

report() {
    echo "$*" | tee -a "$out/survive.txt"
}

: >"$out/survive.txt"
commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
report "# Linux $(uname -r), $(nproc) CPUs, commit $commit, $(date -u +%FT%TZ)"
start_server env

"$bin/megaconn-client" run --target "127.0.0.1:$ports" --connections "$connections" --hold 10m \
    >"$out/killed.txt" 2>"$out/killed.log" &
client=$!
until_figure connections -ge "$connections" 300
began=$(date +%s%3N)
kill -9 "$client"
wait "$client" 2>/dev/null || true
client=''
until_figure connections -eq 0 300
took=$(($(date +%s%3N) - began))
report "kill -9 of a client with $connections connections: server empty after $took ms," \
    "$(figure reset_total) of them ended by a reset"
must_serve "the killed client"

# Each core of the client has its part of a storm in flight.
cores=$(python3 -c 'import os; print(len(os.sched_getaffinity(0)))')

# The server stands still while all SYNs of a storm come to the ports $1; what the accept queues do not
# take comes again by TCP's own clock, after 1, 3 and 7 s, or is given up by the client after 10 s.
weather_storm() {
    local accepted overflows
    accepted=$(figure accepted_total) overflows=$(listen_overflows)
    kill -STOP "$server"
    run_client connect-storm --target "127.0.0.1:$1" --connections "$storm" --min-established 0 \
        --connects-in-flight $((storm / cores + 1)) --hold 1s --close reset &
    client=$!
    sleep 2
    kill -CONT "$server"
    wait "$client" || fail "a storm of $storm connects: $(head -n 3 "$out/connect-storm.txt")"
    client=''
    until_figure connections -eq 0
    report "storm of $storm connects to ports $1 of a server that stands still for 2 s, closed by as" \
        "many resets: $(($(listen_overflows) - overflows)) SYNs met a full queue, $(python3 -c '
import json, sys
r = json.load(open(sys.argv[1]))
c = r["plateaus"][0]["connect"]
failed = ", ".join(f"{n} {e}" for e, n in r["failed"].items()) or "none"
print(r["established"], "established, failed:", failed, "in", round(c["seconds"], 1), "s,",
      "connect p99", round(c["latency_us"]["p99"] / 1000), "ms")
' "$out/result.json"); the server accepted $(($(figure accepted_total) - accepted))"
    must_serve "the storm of connects"
}
weather_storm "$ports"
weather_storm "${ports%-*}"

resident='' first=''
for n in $(seq "$cycles"); do
    close=$([ $((n % 2)) = 0 ] && echo reset || echo fin)
    run_client cycle --connections "$cycle" --hold 0s --close "$close" || fail "cycle $n failed"
    until_figure connections -eq 0
    # An empty segment is given back after two seconds.
    until_figure segments -le "$cores" 60
    sleep 0.5
    now=$(figure process_resident_bytes)
    first=${first:-$now}
    resident="$resident $((now / 1024))"
    [ $((now * 100)) -le $((first * 105)) ] ||
        fail "cycle $n left $now resident bytes, the first one $first"
done
report "$cycles cycles of $cycle connections, closed by fin and reset in turn: resident KiB$resident"
must_serve "the cycles"
kill "$server"
wait "$server" || true
server=''

if [ -n "$enfile" ]; then
    start_server setpriv --reuid=nobody --regid=nogroup --clear-groups --bounding-set=-all --
    file_max=$(cat /proc/sys/fs/file-max)
    # Room for some thousand: the client is root and may pass the limit, the server may not.
    echo $(($(cut -f 1 /proc/sys/fs/file-nr) + 4000)) >/proc/sys/fs/file-max
    "$bin/megaconn-client" run --target "127.0.0.1:$ports" --connections 20k --message-count 0 \
        --hold 8s --min-established 0 --out "$out" >"$out/enfile.txt" 2>"$out/enfile.log" &
    client=$!
    until_figure accept_failed_total -gt 0 30
    sleep 2
    echo "$file_max" >/proc/sys/fs/file-max
    file_max=''
    wait "$client" || fail "without files: $(head -n 3 "$out/enfile.txt")"
    client=''
    report "a host without files: $(figure accept_failed_total) accepts failed and were made again," \
        "$(figure accepted_total) accepted in the end"
    [ "$(figure accepted_total)" -ge 20000 ] || fail "accepting did not go on"
    must_serve "the want of files"
fi
report "survived"
