#!/usr/bin/env bash
# Much of everything for a while, and then the question whether anything is left of it: both shards
# in simulated worlds, then cycles of mixed traffic against one real server that must be empty after
# each, and no bigger than before.
set -euo pipefail

usage() {
    cat <<'EOF'
usage: soak.sh [--minutes N] [--connections N] [--steps N] [--port N] [--out DIR]

  --minutes N       time for all of it, after the build                 [default: 10]
  --connections N   held connections of a cycle                         [default: 100000]
  --steps N         steps of each simulation                            [default: 1000000]
  --port N          first of four ports of the server on 127.0.0.1      [default: 7500]
  --out DIR         where figures and logs go                           [default: runs/soak-DATE]

Every cycle opens N connections, exchanges messages and opens short connections beside them, asks all
for proof of life, and closes them, by fin and reset in turn. Of three cycles the first begins with a
storm of connects, and in the second another client is killed in the middle of its hold.

Exit status: 0 nothing was left; 1 something was, or failed; 2 refused before starting, with the fix;
130 or 143 after a signal.
EOF
}

refuse() {
    echo "error: $1" >&2
    exit 2
}

minutes=10 connections=100000 steps=1000000 port=7500 out=''
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --minutes | --connections | --steps | --port | --out)
            [ $# -ge 2 ] || refuse "$1 needs a value; fix: see soak.sh --help"
            declare "${1#--}=$2" && shift 2
            ;;
        *) refuse "unknown argument $1; fix: see soak.sh --help" ;;
    esac
done
for name in minutes connections steps port; do
    [[ ${!name} =~ ^[1-9][0-9]{0,8}$ ]] ||
        refuse "--$name ${!name} is no count; fix: a number in digits, see soak.sh --help"
done
for tool in cargo cc python3; do
    command -v "$tool" >/dev/null || refuse "$tool is missing; fix: apt-get install $tool"
done

root=$(cd "$(dirname "$0")/.." && pwd)
out=${out:-$root/runs/soak-$(date +%Y%m%d-%H%M%S)-$$}
mkdir -p "$out" || refuse "--out $out cannot be made; fix: a directory that you may write"
out=$(cd "$out" && pwd)
cd "$root"
echo "building (the first time takes some minutes)" >&2
cargo build --release --locked --quiet || refuse "the build failed; see above"
cargo test --release --workspace --locked --no-run --quiet || refuse "the build failed; see above"
bin=$(realpath "${CARGO_TARGET_DIR:-target}")/release
rm -f "$out"/{result,environment}.json "$out"/{server,client}.ndjson "$out"/*.log
ports=$port-$((port + 3))
deadline=$((SECONDS + minutes * 60))

# shellcheck source=bench-scripts/sockets.sh
. bench-scripts/sockets.sh
sockets_before=$(sockets)
server='' client='' simulation=''

# Ends what runs: the client before the server; then waits until the kernel has taken the rings and
# their sockets down.
# shellcheck disable=SC2317,SC2329  # called by the traps
end_all() {
    # cargo has the tests as its children: the group goes as a whole.
    [ -z "$simulation" ] || kill -- "-$simulation" 2>/dev/null || true
    for pid in $client $server; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    simulation='' client='' server=''
    await_sockets "$sockets_before" 300
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# A process group for each: Ctrl-C is for this script, which ends them in order.
set -m

fail() {
    echo "FAILED: $1; see $out" >&2
    exit 1
}

# ---- simulated worlds ----------------------------------------------------------------------------

echo "== simulation: $steps steps" >&2
MEGACONN_SIM_STEPS=$steps cargo test --release --workspace --locked --no-fail-fast -- \
    every_invariant what_the_client_counts the_books_of_both_ends --nocapture >"$out/simulation.log" 2>&1 &
simulation=$!
while kill -0 "$simulation" 2>/dev/null; do
    [ $SECONDS -lt $deadline ] || fail "the simulation takes longer than $minutes minutes (fewer --steps)"
    sleep 0.2
done
wait "$simulation" || fail "simulation: $(grep -m 1 'failed; MEGACONN_SIM_SEED' "$out/simulation.log" || true)"
simulation=''
simulated=$(grep -o 'steps=[0-9].*' "$out/simulation.log" | paste -sd ';' || true)
[ -n "$simulated" ] || fail "no simulation ran"
echo "   $simulated" >&2

# ---- a real server -------------------------------------------------------------------------------

# Figures of the server over all cores, as they stood last, in the order asked for.
figures() {
    tail -n 64 "$out/server.ndjson" | python3 -c '
import json, sys
last = {}
for line in sys.stdin:
    if line.startswith("{") and line.endswith("}\n"):
        line = json.loads(line)
        last[line["core"]] = line
for name in sys.argv[1:]:
    values = [line[name] for line in last.values()] or [0]
    print(values[0] if name.startswith("process_") else sum(values), end=" ")
' "$@"
}

# Resident bytes of the server: first without its pools of buffers, then those. A pool keeps every page
# that it ever needed at once, up to its 32 MiB for a core (src/base/constants), however few it needs now:
# that is a high-water mark and no leak, and each is the only mapping of such a size.
resident() {
    awk '/^Size:/ {pool = $2 >= 32768} /^Rss:/ {sum[pool ? 1 : 0] += $2 * 1024}
        END {printf "%d %d\n", sum[0], sum[1]}' "/proc/$server/smaps"
}

# Waits until the server figure $1 compares so ($2) with $3, for at most $4 seconds.
until_figure() {
    local began=$SECONDS now
    while kill -0 "$server" 2>/dev/null || fail "the server died"; do
        now=$(figures "$1")
        ! test "${now% }" "$2" "$3" || return 0
        [ $((SECONDS - began)) -lt "$4" ] || fail "cycle $cycle: after $4 s $1 is $now, not $2 $3"
        sleep 0.2
    done
}

# Runs a client to its end. Its logs are kept by name.
run_client() {
    local name=$1
    shift
    rm -f "$out/result.json"
    "$bin/megaconn-client" run --target "127.0.0.1:$ports" --out "$out" "$@" \
        >"$out/$name.txt" 2>"$out/$name.log" &
    client=$!
    wait "$client" || fail "cycle $cycle: the $name client ended with status $?: $(
        grep -m 1 -E '^error|verdict' "$out/$name.log" "$out/$name.txt" || true
    )"
    client=''
}

# Cores in flight at once, so that as many connects as asked for are out at a time.
cores=$(python3 -c 'import os; print(len(os.sched_getaffinity(0)))')
touch "$out/server.ndjson"
"$bin/megaconn" serve --listen "127.0.0.1:$ports" --stats "$out/server.ndjson" --stats-every 200ms \
    2>"$out/server.log" &
server=$!
cycle=0
for _ in $(seq 100); do
    # The second look is for the first line of figures.
    ! grep -q '^listening on' "$out/server.log" || ! [ -s "$out/server.ndjson" ] || break
    kill -0 "$server" 2>/dev/null || refuse "the server did not start: $(grep '^error:' "$out/server.log" || true)"
    sleep 0.1
done

# Opened all at once: a queue may overflow, and who then gave up is no connection. Most are.
storm() {
    run_client storm --connections "$connections" --connects-in-flight 50000 --hold 1s \
        --close reset --min-established $((connections * 9 / 10))
    until_figure connections -eq 0 60
}

killed() {
    "$bin/megaconn-client" run --target "127.0.0.1:$ports" --connections "$connections" --hold 10m \
        --message-every 10s >"$out/killed.txt" 2>"$out/killed.log" &
    client=$!
    until_figure connections -ge "$connections" 60
    sleep 2
    kill -KILL "$client"
    wait "$client" 2>/dev/null || true
    client=''
    until_figure connections -eq 0 60
}

csv=$out/soak.csv
echo "cycle,kind,close,seconds,established,failed,lost,messages,late,short,accepted,closed,resident_bytes,pool_bytes,open_files,sockets" >"$csv"
resident_first='' files_first='' longest=0
while [ $((SECONDS + longest)) -lt $deadline ] || [ "$cycle" = 0 ]; do
    began=$SECONDS
    cycle=$((cycle + 1))
    close=fin kind=plain
    [ $((cycle % 2)) = 1 ] || close=reset
    # Both kinds have been there by the end of the second cycle, to which the others are compared.
    case $((cycle % 3)) in
        1) kind=storm && storm ;;
        2) kind=killed && killed ;;
    esac
    run_client traffic --connections "$connections" --message-every 10s --hold 12s --churn 500/s \
        --sweep --close "$close"
    until_figure connections -eq 0 60
    # An empty segment is given back after two seconds; each core keeps one.
    until_figure segments -le "$cores" 30
    sleep 1
    read -r accepted closed files < <(figures accepted_total closed_total process_open_files; echo)
    read -r resident pools < <(resident)
    python3 - "$out/result.json" <<'EOF' >"$out/cycle.txt"
import json, sys
r = json.load(open(sys.argv[1]))
p = r["plateaus"][0]
churn, messages = p["churn"], p["messages"]
print(r["established"], sum(r["failed"].values()) + sum(churn["failed"].values()),
      sum(r["lost"].values()) + sum(churn["lost"].values()),
      messages["received"], messages["late"], churn["completed"], sep=",")
EOF
    took=$((SECONDS - began))
    [ $took -le $longest ] || longest=$took
    echo "$cycle,$kind,$close,$took,$(cat "$out/cycle.txt"),$accepted,$closed,$resident,$pools,$files,$(sockets)" |
        tee -a "$csv" >&2
    # A page besides for each pool, which is the allocator's.
    [ "$pools" -le $((cores * (32 << 20) + cores * 4096)) ] || fail "cycle $cycle: $pools bytes of pools"
    [ "$accepted" = "$closed" ] || fail "cycle $cycle: $accepted accepted, but $closed closed"
    if [ "$cycle" = 2 ]; then
        resident_first=$resident files_first=$files
    elif [ -n "$resident_first" ]; then
        most=$((resident_first + resident_first / 20 + 1048576))
        [ "$resident" -le "$most" ] ||
            fail "cycle $cycle left $resident resident bytes beside the pools, cycle 2 $resident_first"
        [ "$files" -le "$files_first" ] || fail "cycle $cycle left $files open files, cycle 2 left $files_first"
    fi
done

kill "$server"
ended=0
wait "$server" || ended=$?
server=''
# 143 is what it says after the signal that ends it.
[ "$ended" = 143 ] || fail "the server ended with status $ended"
python3 - "$csv" <<'EOF'
import csv, sys
rows = list(csv.DictReader(open(sys.argv[1])))
total = lambda name: sum(int(row[name]) for row in rows)
last = rows[-1]
print(f"          cycles  {len(rows)}")
print(f"     connections  {int(last['accepted']):,} accepted, {int(last['closed']):,} closed")
print(f"        messages  {total('messages'):,} verified, {total('late'):,} late; {total('short'):,} short connections")
print(f"   failed / lost  {total('failed'):,} / {total('lost'):,}")
kib = lambda name: ", ".join(str(int(row[name]) // 1024) for row in rows)
print(f"        resident  {kib('resident_bytes')} KiB beside the pools")
print(f"           pools  {kib('pool_bytes')} KiB")
print(f"      open files  {', '.join(row['open_files'] for row in rows)}")
EOF
echo "      simulation  $simulated"
echo "   run directory  $out"
[ "$cycle" -gt 2 ] || echo "warning: $cycle cycles show no growth; fix: more --minutes" >&2
