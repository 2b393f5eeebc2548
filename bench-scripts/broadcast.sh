#!/usr/bin/env bash
# What one text to all takes: a server with so many connections is told to send some texts, a client that holds it to
# them says who got each and when, and a plain loop of send() over as many sockets says what it costs at least.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: broadcast.sh [--connections N] [--rounds N] [--bytes N] [--bin DIR] [--out DIR]

  --connections N   connections that get each text                       [default: 20000]
  --rounds N        texts                                                [default: 5]
  --bytes N         bytes of a text; its head has 93 more                [default: 64]
  --bin DIR         programs that are built        [default: a release build of this tree]
  --out DIR         run directory                           [default: runs/broadcast-DATE]

The floor is a loop of send() of as many bytes over as many sockets, by a thread for each core, with as many threads that take
what comes. A socket of the loop is a descriptor: over more of them than `ulimit -n` allows its time is reckoned by the send.
Both are on the same cores as the ends that receive. Exit status: that of the client, and 1 when a text did not reach all.
TEXT
}

refuse() {
    echo "error: $1" >&2
    exit 2
}

connections=20000 rounds=5 bytes=64 bin='' out=''
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --connections | --rounds | --bytes | --bin | --out)
            [ $# -ge 2 ] || refuse "$1 needs a value; fix: see broadcast.sh --help"
            declare "${1#--}=$2" && shift 2
            ;;
        *) refuse "unknown argument $1; fix: see broadcast.sh --help" ;;
    esac
done
for name in connections rounds bytes; do
    [[ ${!name} =~ ^[1-9][0-9]*$ ]] || refuse "--$name ${!name} is no whole number; fix: see broadcast.sh --help"
done
[ "$bytes" -le 3747 ] || refuse "--bytes $bytes is more than a text may have; fix: 3747 or less"
for tool in cargo cc python3; do
    command -v "$tool" >/dev/null || refuse "$tool is missing; fix: apt-get install $tool"
done

root=$(cd "$(dirname "$0")/.." && pwd)
out=${out:-$root/runs/broadcast-$(date +%Y%m%d-%H%M%S)}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$root"
if [ -z "$bin" ]; then
    cargo build --release --locked --quiet
    bin=${CARGO_TARGET_DIR:-target}/release
fi
bin=$(realpath "$bin")
cc -O2 -o "$out/send-floor" bench-scripts/baselines/send-floor.c -lpthread
ports=7630-7645 socket=$out/all.sock
# shellcheck source=bench-scripts/said.sh
. bench-scripts/said.sh
server='' client=''
# shellcheck disable=SC2317,SC2329  # called by the trap
end_all() {
    for pid in $client $server; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -f "$out/send-floor"
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

set -m
"$bin/megaconn" serve --listen "127.0.0.1:$ports" --mode push --broadcast-on "$socket" 2>"$out/server.log" &
server=$!
until_said 10 "$server" "$out/server.log" 'listening on' || refuse "the server did not start: $(cat "$out/server.log")"
"$bin/megaconn-client" run --target "127.0.0.1:$ports" --connections "$connections" --hold 10m \
    --expect broadcast --control "$out/run.sock" --out "$out" >"$out/client.txt" 2>"$out/client.log" &
client=$!
set +m
until_said 300 "$client" "$out/client.log" 'holding' || refuse "the client does not hold: $(tail -3 "$out/client.log")"

text=$(head -c "$bytes" /dev/zero | tr '\0' x)
: >"$out/orders.json"
for _ in $(seq "$rounds"); do
    # What was sent is taken before the next one.
    sleep 2
    "$bin/megaconn" broadcast "$socket" --format json "$text" >>"$out/orders.json" || true
done
sleep 2
python3 - "$out/run.sock" <<'PY'
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b"POST /stop HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
s.recv(4096)
PY
status=0
wait "$client" || status=$?
client=''
kill "$server"
wait "$server" || true
server=''

# Both ends of the loop have room for some descriptors beside their sockets.
limit=$(($(ulimit -n) - 100))
sockets=$((connections < limit ? connections : limit))
cores=$(nproc)
"$out/send-floor" "$sockets" "$((bytes + 93))" "$cores" "$rounds" read >"$out/floor.txt"
python3 - "$out" "$connections" "$sockets" "$cores" <<'PY' || status=1
import json, statistics, sys
out, (connections, sockets, cores) = sys.argv[1], map(int, sys.argv[2:])
text, orders, decoder = open(f"{out}/orders.json").read().strip(), [], json.JSONDecoder()
while text:
    order, end = decoder.raw_decode(text)
    orders.append(order)
    text = text[end:].strip()
result = json.load(open(f"{out}/result.json"))
texts = result["broadcasts"]["texts"]
floor = statistics.median(float(line) for line in open(f"{out}/floor.txt"))
floor *= connections / sockets
row = lambda name, text: print(f"{name:>16}  {text}")
for text in texts:
    us = text["latency_us"]
    row(f"text {text['number']}", f"reached {text['reached']:,}, first {text['first_us'] / 1e3:.1f} ms, "
        f"p50 {us['p50'] / 1e3:.1f} ms, p99 {us['p99'] / 1e3:.1f} ms, last {text['last_us'] / 1e3:.1f} ms")
sent = statistics.median(order["seconds"] for order in orders)
last = statistics.median(text["last_us"] for text in texts) / 1e6
how = "" if sockets == connections else f", reckoned from {sockets:,}"
row("floor", f"{floor * 1e3:.1f} ms, a loop of send() by {cores} threads{how}")
row("server", f"{sent * 1e3:.1f} ms until all are sent, ratio {sent / floor:.2f}")
row("all", f"{last * 1e3:.1f} ms from the order to the last receipt, ratio {last / floor:.2f}")
everyone = all(text["reached"] == connections for text in texts) and len(texts) == len(orders)
row("reach", "every connection had every text" if everyone else "NOT every connection had every text")
sys.exit(not everyone)
PY
exit "$status"
