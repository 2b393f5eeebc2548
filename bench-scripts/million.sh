#!/usr/bin/env bash
# The main job: hold a million TCP connections on this machine, in one command.
#
# Builds if needed, starts a server on loopback, opens the connections from the same machine, sends
# one unique message over each and verifies its echo, holds them, closes them, and leaves a run
# directory. It needs no root and changes no setting; it ends every process that it started.
set -euo pipefail

usage() {
    cat <<'EOF'
usage: million.sh [--connections N[,N...]] [--hold DUR] [--out DIR] [--ports LO-HI] [--no-bystanders]

  --connections N   connections to open, like 60k or 2M, or
                    plateaus like 10k,100k,1M               [default: 1M]
  --hold DUR        time to hold them, like 10s or 5m       [default: 60s]
  --out DIR         run directory, made if it is not there  [default: runs/DATE-TIME]
  --ports LO-HI     ports of the server on 127.0.0.1        [default: 7000-7015]
  --no-bystanders   watch nobody else meanwhile, which saves half a minute

Exit status: 0 every connection was established, verified and held; 1 some were not;
2 refused before starting, with the fix; 130 or 143 after a signal.
EOF
}

refuse() {
    echo "error: $1" >&2
    exit 2
}

connections=1M hold=60s out='' ports=7000-7015 bystanders=yes
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --connections | --hold | --out | --ports)
            [ $# -ge 2 ] || refuse "$1 needs a value; fix: see million.sh --help"
            declare "${1#--}=$2" && shift 2
            ;;
        --no-bystanders) bystanders='' && shift ;;
        *) refuse "unknown argument $1; fix: see million.sh --help" ;;
    esac
done

root=$(cd "$(dirname "$0")/.." && pwd)
out=${out:-$root/runs/$(date +%Y%m%d-%H%M%S)-$$}
command -v cargo >/dev/null || refuse "cargo is missing; fix: install a Rust toolchain from rustup.rs"
command -v cc >/dev/null || refuse "a C compiler is missing; fix: apt-get install gcc"
mkdir -p "$out" || refuse "--out $out cannot be made; fix: a directory that you may write"
out=$(cd "$out" && pwd)
cd "$root"
# shellcheck source=bench-scripts/killed.sh
. bench-scripts/killed.sh
# shellcheck source=bench-scripts/sockets.sh
. bench-scripts/sockets.sh
echo "building (the first time takes a minute)" >&2
cargo build --release --locked --quiet || refuse "the build failed; see above"
bin=$(realpath "${CARGO_TARGET_DIR:-target}")/release
# Figures of an earlier run must not be taken for this one's.
rm -f "$out"/{result,environment,doctor,counters}.json "$out/report.html" "$out"/{server,client,bystanders}.ndjson "$out"/server.log

sockets_before=$(sockets)
kills_begin
server='' client=''

# Ends what runs: the client first, so that it reports what it held, then the server; then waits
# until the kernel has taken the rings and their sockets down, so that a next run finds them free.
# shellcheck disable=SC2317,SC2329  # called by the traps
end_all() {
    for pid in $client $server; do
        kill "-${1:-TERM}" "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    client='' server=''
    await_sockets "$sockets_before" 150
}
trap end_all EXIT
trap 'end_all INT; exit 130' INT
trap 'end_all TERM; exit 143' TERM

# Both get a process group of their own (set -m): Ctrl-C is for this script, which passes it on in
# order. Not a session of their own: the scheduler would group each by itself (notes/journal).
set -m
# Sixteen ports, because connections that differ in the target port share their source port's bind
# bucket in the kernel: that is 106 bytes less for each, and a shorter search (notes/journal).
touch "$out/server.log"
"$bin/megaconn" serve --listen "127.0.0.1:$ports" --stats "$out/server.ndjson" \
    ${bystanders:+--bystander 127.0.0.1:0} 2>"$out/server.log" &
server=$!
for _ in $(seq 100); do
    ! grep -q '^listening on' "$out/server.log" || break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
done
if ! grep -q '^listening on' "$out/server.log"; then
    grep '^error:' "$out/server.log" >&2 ||
        echo "error: the server did not start, see $out/server.log" >&2
    exit 2
fi

watch=()
[ -z "$bystanders" ] ||
    watch=(--bystanders --bystander-service "$(sed -n 's/^bystander=//p' "$out/server.log")")
"$bin/megaconn-client" run --target "127.0.0.1:$ports" --connections "$connections" \
    --hold "$hold" ${watch[@]+"${watch[@]}"} --out "$out" &
client=$!
set +m
status=0
wait "$client" || status=$?
if [ "$status" -gt 128 ] && [ ! -e "$out/result.json" ]; then
    say_killed megaconn-client "$client" "$status"
    status=1
fi
client=''

if ! kill -0 "$server" 2>/dev/null; then
    ended=0
    wait "$server" || ended=$?
    if [ "$ended" -gt 128 ]; then
        say_killed megaconn "$server" "$ended"
    else
        echo "error: the server ended by itself with status $ended, see $out/server.log" >&2
    fi
    server=''
    [ "$status" -ne 0 ] || status=1
fi
[ ! -e "$out/result.json" ] || echo "   run directory  $out"
[ ! -e "$out/report.html" ] || echo "          report  $out/report.html"
exit "$status"
