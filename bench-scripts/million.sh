#!/usr/bin/env bash
# The main job: hold a million TCP connections on this machine, in one command.
#
# Builds if needed, starts a server on loopback, opens the connections from the same machine, sends
# one unique message over each and verifies its echo, holds them, closes them, and leaves a run
# directory. It needs no root and changes no setting; it ends every process that it started.
set -euo pipefail

usage() {
    cat <<'EOF'
usage: million.sh [--connections N] [--hold DUR] [--out DIR] [--ports LO-HI]

  --connections N   connections to open, like 60k or 2M     [default: 1M]
  --hold DUR        time to hold them, like 10s or 5m       [default: 60s]
  --out DIR         run directory, made if it is not there  [default: runs/DATE-TIME]
  --ports LO-HI     ports of the server on 127.0.0.1        [default: 7000-7015]

Exit status: 0 every connection was established, verified and held; 1 some were not;
2 refused before starting, with the fix; 130 or 143 after a signal.
EOF
}

refuse() {
    echo "error: $1" >&2
    exit 2
}

connections=1M hold=60s out='' ports=7000-7015
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --connections | --hold | --out | --ports)
            [ $# -ge 2 ] || refuse "$1 needs a value; fix: see million.sh --help"
            declare "${1#--}=$2" && shift 2
            ;;
        *) refuse "unknown argument $1; fix: see million.sh --help" ;;
    esac
done

root=$(cd "$(dirname "$0")/.." && pwd)
out=${out:-$root/runs/$(date +%Y%m%d-%H%M%S)}
command -v cargo >/dev/null || refuse "cargo is missing; fix: install a Rust toolchain from rustup.rs"
command -v cc >/dev/null || refuse "a C compiler is missing; fix: apt-get install gcc"

(cd "$root" && cargo build --release --locked --quiet) || refuse "the build failed; see above"
bin=${CARGO_TARGET_DIR:-$root/target}/release
mkdir -p "$out" || refuse "--out $out cannot be made; fix: a directory that you may write"
# Figures of an earlier run must not be taken for this one's.
rm -f "$out"/{result,environment}.json "$out"/{server,client}.ndjson "$out"/server.log

server='' client=''
# shellcheck disable=SC2317  # called by the trap
end_all() {
    for pid in $client $server; do
        kill "$pid" 2>/dev/null || true
    done
    wait
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Sixteen ports, because connections that differ in the target port share their source port's bind
# bucket in the kernel: that is 106 bytes less for each, and a shorter search (notes/journal).
"$bin/megaconn" serve --listen "127.0.0.1:$ports" --stats "$out/server.ndjson" 2>"$out/server.log" &
server=$!
for _ in $(seq 100); do
    grep -q '^listening on' "$out/server.log" && break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
done
if ! grep -q '^listening on' "$out/server.log"; then
    grep '^error:' "$out/server.log" >&2 || echo "error: the server did not start, see $out/server.log" >&2
    exit 2
fi

"$bin/megaconn-client" run --target "127.0.0.1:$ports" --connections "$connections" --hold "$hold" \
    --out "$out" &
client=$!
status=0
wait "$client" || status=$?
client=''
[ "$status" -ne 137 ] || echo "error: the client was killed by signal 9, see dmesg" >&2

if kill -0 "$server" 2>/dev/null; then
    kill -TERM "$server"
    wait "$server" || true
else
    ended=0
    wait "$server" || ended=$?
    echo "error: the server ended by itself with status $ended, see $out/server.log and dmesg" >&2
    [ "$status" -ne 0 ] || status=1
fi
server=''
echo "   run directory  $out"
exit "$status"
