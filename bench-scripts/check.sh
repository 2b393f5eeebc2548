#!/usr/bin/env bash
# All checks and tests: what CI runs. With --quick those that a person runs before a commit, in less
# than three minutes. A check that cannot run here says so loudly and is counted at the end; a check
# that fails ends the script.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'EOF'
usage: check.sh [--quick]

  --quick  formats, lints, shell scripts, unit tests, and the tests of the house rules, the verdict,
           the doctor, bad input, the protocols, the server in the simulator, and whole runs

Without it everything, as CI runs it. With MEGACONN_HOST_WIDE=1 in the environment tests change
values of the whole host for a moment, such as fs.file-max, and restore them; CI sets it.
Exit status: 0 all is well; 2 refused; any other: a check failed.
EOF
}

quick=''
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --quick) quick=yes && shift ;;
        *) echo "error: unknown argument $1; fix: see check.sh --help" >&2 && exit 2 ;;
    esac
done

skipped=()
skip() {
    echo "SKIPPED: $1" >&2
    skipped+=("$1")
}

step() {
    echo "== $*"
    "$@"
}

command -v cargo >/dev/null || { echo "error: cargo is missing; fix: install rustup" >&2; exit 2; }
command -v cc >/dev/null || { echo "error: a C compiler is missing; fix: apt-get install gcc" >&2; exit 2; }

step cargo fmt --all --check
step cargo clippy --workspace --all-targets --locked -- -D warnings
if [ -n "$quick" ]; then
    if command -v shellcheck >/dev/null; then
        step shellcheck .ci/run bench-scripts/*.sh bench-scripts/*/*.sh
    fi
    tests=(repository verdict doctor bad_input framed modes shard_sim end_to_end)
    step cargo test --workspace --locked --lib --bins "${tests[@]/#/--test=}"
    exit
fi
step env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet
step cc -O2 -Wall -Wextra -Werror -fsyntax-only bench-scripts/baselines/epoll-echo.c bench-scripts/baselines/send-floor.c
if command -v shellcheck >/dev/null; then
    step shellcheck .ci/run bench-scripts/*.sh bench-scripts/*/*.sh
else
    skip "shell lint: shellcheck is not installed (apt-get install shellcheck)"
fi
step cargo fmt --manifest-path bench-scripts/baselines/Cargo.toml --check
step cargo clippy --manifest-path bench-scripts/baselines/Cargo.toml \
    --target-dir "${CARGO_TARGET_DIR:-target}" --locked -- -D warnings
go_program() {
    cd "$1"
    [ -z "$(gofmt -l .)" ] || { gofmt -d . && return 1; }
    go vet .
    go build -buildvcs=false -o /dev/null .
}
if command -v go >/dev/null; then
    # Each in a shell of its own, which `set -e` ends at the first of the three that fails.
    (step go_program bench-scripts/baselines/go-churn)
    (step go_program bench-scripts/baselines/go-echo)
    (step go_program bench-scripts/baselines/go-tls-echo)
    (GO111MODULE=off step go_program client/tests/peers/crypto-tls)
    if [ -d /usr/share/gocode/src/github.com/gorilla/websocket ]; then
        (GO111MODULE=off GOPATH=/usr/share/gocode step go_program bench-scripts/baselines/go-ws-echo)
        (GO111MODULE=off GOPATH=/usr/share/gocode step go_program client/tests/peers/gorilla)
    else
        skip "gorilla, its baseline and its tests: it is not installed (apt-get install golang-github-gorilla-websocket-dev)"
    fi
else
    skip "Go baselines and peers: go is not installed (apt-get install golang-go)"
fi
if command -v cargo-deny >/dev/null; then
    step cargo deny check licenses bans sources
else
    skip "licences: cargo-deny is not installed (cargo install cargo-deny)"
fi
step cargo fmt --manifest-path fuzz/Cargo.toml --check
if command -v c++ >/dev/null; then
    step cargo clippy --manifest-path fuzz/Cargo.toml --target-dir "${CARGO_TARGET_DIR:-target}" \
        --locked -- -D warnings
    step bench-scripts/fuzz.sh --seconds 5
else
    skip "fuzzing: a C++ compiler is not installed (apt-get install g++)"
fi
# Debian's package is for Debian's own Python, which need not be the first in the path.
has_parser() {
    "$1" -c 'import prometheus_client.openmetrics.parser' 2>/dev/null
}
has_parser python3 || has_parser /usr/bin/python3 ||
    skip "metrics read by Prometheus's Python parser: no python3 has it (apt-get install python3-prometheus-client)"
command -v promtool >/dev/null ||
    skip "metrics and dashboard read by Prometheus itself: promtool is not installed (apt-get install prometheus)"
[ -n "${MEGACONN_HOST_WIDE:-}" ] ||
    skip "walls of the whole host: MEGACONN_HOST_WIDE=1 lets tests change its values for a moment"
command -v tmux >/dev/null || skip "the live view in a terminal: tmux is not installed (apt-get install tmux)"
command -v openssl >/dev/null || skip "TLS against openssl: it is not installed (apt-get install openssl)"
for tool in ssh:openssh-client sshd:openssh-server pdsh:pdsh; do
    PATH=$PATH:/usr/sbin command -v "${tool%:*}" >/dev/null ||
        skip "a fleet of hosts: ${tool%:*} is not installed (apt-get install ${tool#*:})"
done
command -v chromium >/dev/null || skip "WebSocket against Chromium: it is not installed (apt-get install chromium)"
command -v kubectl >/dev/null || skip "manifests of Kubernetes: kubectl is not installed, which renders them"
[ "$(id -u)" = 0 ] || skip "pods of the manifests in namespaces: they take root"
command -v npm >/dev/null || skip "WebSocket against npm's ws: npm is not installed (apt-get install nodejs npm)"
if [ "$(nproc)" -ge 2 ]; then
    step bench-scripts/compare.sh --quick --only echo-16,rate-500 --servers epoll,ring,tokio,glommio
    step bench-scripts/compare.sh --quick --only tls-open-200,tls-handshakes-100,tls-echo-500,ws-echo-500
else
    skip "a try of compare.sh: it needs two CPUs"
fi
if python3 -c 'import ensurepip, venv' 2>/dev/null; then
    step cargo build --workspace --locked
    status=0
    step bench-scripts/locust/check.sh || status=$?
    case $status in
        0) ;;
        75) skip "the package for Locust: PyPI could not be reached" ;;
        *) exit "$status" ;;
    esac
else
    skip "the package for Locust: python3 makes no environments (apt-get install python3-venv)"
fi
# Last, so that the test runner's counts are the closing lines.
step cargo test --workspace --locked

for what in "${skipped[@]}"; do
    echo "SKIPPED: $what" >&2
done
