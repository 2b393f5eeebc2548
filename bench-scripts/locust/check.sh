#!/usr/bin/env bash
# Checks and tests of the package for Locust, in an environment of its own under target/.
set -euo pipefail
cd "$(dirname "$0")"

usage() {
    cat <<'EOT'
usage: locust/check.sh

Types, lints and tests against the real Locust, of the versions in requirements.txt. The programs are those of
target/debug, or of MEGACONN_BINARIES; `cargo build --workspace` makes them.
Exit status: 0 all is well; 75 not run, because PyPI could not be reached; any other: a check failed.
EOT
}

case ${1:-} in
    '') ;;
    -h | --help) usage && exit 0 ;;
    *) echo "error: unknown argument $1; fix: see locust/check.sh --help" >&2 && exit 2 ;;
esac

target=$(cd ../.. && cargo metadata --format-version 1 --no-deps | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
venv=$target/locust
export MEGACONN_BINARIES=${MEGACONN_BINARIES:-$target/debug}

if ! cmp -s requirements.txt "$venv/installed.txt"; then
    rm -rf "$venv"
    mkdir -p "$target"
    python3 -m venv "$venv"
    # One package tells whether there is an index at all: that what is pinned does not install is a failure.
    if ! "$venv/bin/pip" download --quiet --no-deps --retries 1 --timeout 15 --dest "$venv/try" iniconfig; then
        rm -rf "$venv"
        echo "PyPI could not be reached" >&2
        exit 75
    fi
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r requirements.txt
    cp requirements.txt "$venv/installed.txt"
fi
# As `pip install ./bench-scripts/locust` does it, but of a copy, since it leaves files where it builds.
rm -rf "$venv/package"
mkdir "$venv/package"
cp -r pyproject.toml src "$venv/package"
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation --force-reinstall "$venv/package"

"$venv/bin/ruff" check --quiet --no-cache .
"$venv/bin/ruff" format --quiet --no-cache --check .
"$venv/bin/mypy" --cache-dir "$venv/mypy"
# Most of their time is waiting: the long ones run beside the others.
pytest=("$venv/bin/python" -B -m pytest --quiet)
"${pytest[@]}" tests/test_many.py &
many=$!
status=0
"${pytest[@]}" --ignore tests/test_many.py || status=$?
wait "$many" || status=$?
exit "$status"
