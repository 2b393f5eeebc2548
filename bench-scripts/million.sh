#!/usr/bin/env bash
# The main job: hold a million TCP connections on this machine, in one command.
#
# Builds if needed, then has `megaconn measure` do it: a server on loopback, a client that opens the
# connections from the same machine, sends one unique message over each and verifies its echo, holds
# them, closes them, and leaves a run directory. It needs no root and changes no setting; every process
# that was started is ended.
set -euo pipefail

usage() {
    cat <<'END'
usage: million.sh [--connections N[,N...][,max]] [--hold DUR] [--out DIR] [--ports LO-HI]
                  [--no-bystanders] [-- run FLAGS] [-- serve FLAGS]

  --connections N   connections to open, like 60k or 2M, plateaus like
                    10k,100k,1M, or as many as there can be: max  [default: 1M]
  --hold DUR        time to hold them, like 10s or 5m             [default: 60s]
  --out DIR         run directory, made if it is not there        [default: runs/DATE-TIME]
  --ports LO-HI     ports of the server on 127.0.0.1              [default: 7000-7015, or free ones]
  --no-bystanders   watch no bystanders meanwhile, which saves half a minute
  -- run FLAGS      more flags for megaconn-client run
  -- serve FLAGS    more flags for megaconn serve

Exit status: 0 every connection was established, verified and held; 1 some were not;
2 refused before starting, with the fix; 130 or 143 after a signal.
END
}

refuse() {
    echo "error: $1" >&2
    exit 2
}

connections=(--connections 1M) out='' before=yes
for arg in "$@"; do
    case $arg in
        --) before='' ;;
        -h | --help) [ -z "$before" ] || { usage && exit 0; } ;;
        --connections | --connections=*) [ -z "$before" ] || connections=() ;;
        --out | --out=*) [ -z "$before" ] || out=given ;;
    esac
done

root=$(cd "$(dirname "$0")/.." && pwd)
command -v cargo >/dev/null || refuse "cargo is missing; fix: install a Rust toolchain from rustup.rs"
command -v cc >/dev/null || refuse "a C compiler is missing; fix: apt-get install gcc"
echo "building (the first time takes some minutes)" >&2
(cd "$root" && cargo build --release --locked --quiet) || refuse "the build failed; see above"
bin=$(cd "$root" && realpath "${CARGO_TARGET_DIR:-target}")/release
# Runs are in the checkout, wherever the script is called from.
[ -n "$out" ] || cd "$root"
exec "$bin/megaconn" measure ${connections[@]+"${connections[@]}"} "$@"
