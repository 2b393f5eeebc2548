#!/usr/bin/env bash
# Fuzzing on the stable toolchain: builds the targets of fuzz/ with the compiler's own coverage pass
# and runs each for a while. `cargo fuzz` would do the same, but needs a nightly compiler.
#
# What a target has learnt is kept below target/, so that a next run goes on from there.
set -euo pipefail

usage() {
    cat <<'EOF'
usage: fuzz.sh [--seconds N] [TARGET...]

  --seconds N   time for each target                            [default: 10]
  TARGET        broadcast, dumps, flags, message, proxy, schedule, server_view, tls, websocket_client,
                websocket_server or websocket_upgrade           [default: all]

Exit status: 0 nothing was found; 1 something was, its input and how to run it again are printed;
2 refused before starting, with the fix; 130 or 143 after a signal.
EOF
}

refuse() {
    echo "error: $1" >&2
    exit 2
}

all=(broadcast dumps flags message proxy schedule server_view tls)
all+=(websocket_client websocket_server websocket_upgrade)
seconds=10 targets=()
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --seconds)
            [ $# -ge 2 ] || refuse "$1 needs a value; fix: see fuzz.sh --help"
            seconds=$2 && shift 2
            ;;
        broadcast | dumps | flags | message | proxy | schedule | server_view | tls) targets+=("$1") && shift ;;
        websocket_client | websocket_server | websocket_upgrade) targets+=("$1") && shift ;;
        *) refuse "unknown target $1; fix: one of ${all[*]}" ;;
    esac
done
[[ $seconds =~ ^[1-9][0-9]{0,5}$ ]] || refuse "--seconds $seconds is no number of seconds; fix: 1 to 999999"
[ "${#targets[@]}" -gt 0 ] || targets=("${all[@]}")
command -v cargo >/dev/null || refuse "cargo is missing; fix: install a Rust toolchain from rustup.rs"
command -v c++ >/dev/null || refuse "a C++ compiler is missing, libFuzzer is C++; fix: apt-get install g++"

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
host=$(rustc -vV | sed -n 's/^host: //p')
target_dir=$(realpath -m "${CARGO_TARGET_DIR:-target}")/fuzz
bin=$target_dir/$host/debug
coverage='--cfg fuzzing -Cpasses=sancov-module'
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    coverage+=" -Cllvm-args=-sanitizer-coverage-$option"
done
# The flags replace those of the environment. With --target they are not for build scripts.
RUSTFLAGS=$coverage cargo build --manifest-path fuzz/Cargo.toml --target "$host" \
    --target-dir "$target_dir" --bins --locked --quiet || refuse "the build failed; see above"

fuzzer=''
# shellcheck disable=SC2317,SC2329  # called by the traps
end_all() {
    [ -z "$fuzzer" ] || kill "$fuzzer" 2>/dev/null || true
    wait
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

found=0
for target in "${targets[@]}"; do
    corpus=$target_dir/corpus/$target artifacts=$root/fuzz/artifacts/$target
    log=$target_dir/$target.log
    mkdir -p "$corpus" "$artifacts"
    seeds=()
    [ ! -d "fuzz/corpus/$target" ] || seeds=("fuzz/corpus/$target")
    status=0
    "$bin/$target" "$corpus" "${seeds[@]}" -max_total_time="$seconds" -timeout=20 \
        -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$artifacts/" >"$log" 2>&1 &
    fuzzer=$!
    wait "$fuzzer" || status=$?
    fuzzer=''
    # Without feedback a fuzzer only guesses: that must not pass for fuzzing.
    grep -q 'inline 8-bit counters' "$log" || refuse "$target does not report coverage, see $log"
    coverage=$(sed -n 's/.* cov: \([0-9]*\) ft: \([0-9]*\) .*/\1 edges, \2 features/p' "$log" | tail -n 1)
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    echo "$target: ${runs:-0} inputs in $seconds s, $coverage, $(find "$corpus" -type f | wc -l) kept"
    if [ "$status" -ne 0 ]; then
        found=1
        input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
        grep -A 4 'panicked at' "$log" >&2 || tail -n 5 "$log" >&2
        echo "error: $target failed with status $status on ${input:-an input that was not kept}" >&2
        echo "again: $bin/$target $input" >&2
    fi
done
exit "$found"
