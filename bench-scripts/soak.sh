#!/usr/bin/env bash
# Much of everything for a while, and then the question whether anything is left of it: both shards
# in simulated worlds, then cycles of mixed traffic against some real servers, each of which must be
# empty after each of its cycles, and no bigger than before. Servers and cycles are in soak.py.
set -euo pipefail

usage() {
    cat <<'USAGE'
usage: soak.sh [--minutes N] [--connections N] [--steps N] [--port N] [--only KIND,...] [--out DIR]

  --minutes N       time for all of it, after the build                 [default: 10]
  --connections N   held connections of a cycle; of TLS a fifth         [default: 100000]
  --steps N         steps of each simulation; 0 is none                 [default: 1000000]
  --port N          first of 20 ports of the servers on 127.0.0.1       [default: 7500]
  --only KIND,...   these kinds of cycles alone                         [default: all]
  --out DIR         where figures and logs go                           [default: runs/soak-DATE]

Five servers run beside each other, and one client at a time. A round has a cycle of each kind: a server
that is taken over; connects all at once; a client that is killed; messages beside short connections;
storms by fin, by reset and by vanishing; lifetimes; texts to all; a storm of the server, over WebSocket;
TLS with and without WebSocket, with short connections, storms and lifetimes. Rounds close by fin and by
reset in turn. By vanishing takes CAP_NET_ADMIN and Linux 6.7.

After each cycle both ends have counted the same connections and messages, and what was lost is back; the
server holds no connection and no buffer, the kernel no socket of its ports; resident memory, open files and
listening sockets are at most what they were when a process of that server had first done the same kinds.

soak.csv has a row for each cycle; result.json, environment.json and client.ndjson are of the last client.
Programs that are built already are taken with MEGACONN_BIN.

Exit status: 0 nothing was left; 1 something was, or failed; 2 refused before starting, with the fix;
130 or 143 after a signal.
USAGE
}

refuse() {
    echo "error: $1" >&2
    exit 2
}

minutes=10 connections=100000 steps=1000000 port=7500 only='' out=''
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --minutes | --connections | --steps | --port | --only | --out)
            [ $# -ge 2 ] || refuse "$1 needs a value; fix: see soak.sh --help"
            declare "${1#--}=$2" && shift 2
            ;;
        *) refuse "unknown argument $1; fix: see soak.sh --help" ;;
    esac
done
for name in minutes connections steps port; do
    [[ ${!name} =~ ^(0|[1-9][0-9]{0,8})$ && ($name = steps || ${!name} != 0) ]] ||
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
if [ -z "${MEGACONN_BIN:-}" ]; then
    cargo build --release --locked --quiet || refuse "the build failed; see above"
    MEGACONN_BIN=$(realpath "${CARGO_TARGET_DIR:-target}")/release
fi
[ -x "$MEGACONN_BIN/megaconn-client" ] || refuse "MEGACONN_BIN $MEGACONN_BIN has no programs; fix: where cargo built them"
[ "$steps" = 0 ] || cargo test --release --workspace --locked --no-run --quiet || refuse "the build failed; see above"
rm -f "$out"/{result,environment}.json "$out"/*.{ndjson,log,txt,csv,sock}
deadline=$((SECONDS + minutes * 60))

# shellcheck source=bench-scripts/sockets.sh
. bench-scripts/sockets.sh
sockets_before=$(sockets)
simulation='' servers=''

# Ends what runs, then waits until the kernel has taken the rings and their sockets down.
# shellcheck disable=SC2317,SC2329  # called by the traps
end_all() {
    # cargo has the tests as its children: the group goes as a whole.
    [ -z "$simulation" ] || kill -- "-$simulation" 2>/dev/null || true
    if [ -n "$servers" ]; then
        kill "$servers" 2>/dev/null || true
        wait "$servers" 2>/dev/null || true
    fi
    simulation='' servers=''
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

simulated=none
if [ "$steps" != 0 ]; then
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
fi

echo "== servers" >&2
python3 bench-scripts/soak.py --bin "$MEGACONN_BIN" --out "$out" --port "$port" --connections "$connections" \
    --seconds $((deadline - SECONDS)) --only "$only" &
servers=$!
status=0
wait "$servers" || status=$?
servers=''
[ "$status" = 0 ] || exit "$status"
echo "      simulation  $simulated"
echo "   run directory  $out"
