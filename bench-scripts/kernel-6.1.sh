#!/usr/bin/env bash
# Runs server and client on a real Linux 6.1, the oldest kernel we claim: Debian bookworm's cloud
# kernel in qemu by software emulation, so without KVM and without root. Emulation is slow: this
# shows that all of it works there, not how fast it is.
set -euo pipefail

usage() {
    cat <<'USAGE'
usage: bench-scripts/kernel-6.1.sh [options], after `cargo build --release`
  -n N      connections to open              [default: 20000]
  -m N      messages on each                 [default: 1]
  -c LIST   --cores of both ends             [default: all]
  -l LIST   --listen and --target, ADDR:PORT[-PORT] [default: 127.0.0.1:7000]
  -p N      emulated CPUs                    [default: 2]
  -u UID    user that both ends run as       [default: 1000]
  -t SEC    seconds after which it is stopped [default: 600]
  -k FILE   kernel to boot, instead of downloading Debian's

Downloads two Debian packages (kernel 26 MB, busybox 1 MB) into a temporary directory, unpacks
them there and removes it at the end; nothing is installed.

Exit status: that of megaconn-client (0 is: all connections were established, verified and held);
2 something is missing here, with the fix; 124 the time was up.
USAGE
}

refuse() {
    printf 'kernel-6.1: %s\n  fix: %s\n' "$1" "$2" >&2
    exit 2
}

connections=20000 messages=1 cores=all listen=127.0.0.1:7000 cpus=2 user=1000 bound_s=600 kernel=
while getopts n:m:c:l:p:u:t:k:h option; do
    case $option in
        n) connections=$OPTARG ;;
        m) messages=$OPTARG ;;
        c) cores=$OPTARG ;;
        l) listen=$OPTARG ;;
        p) cpus=$OPTARG ;;
        u) user=$OPTARG ;;
        t) bound_s=$OPTARG ;;
        k) kernel=$OPTARG ;;
        h) usage && exit 0 ;;
        *) usage >&2 && exit 2 ;;
    esac
done

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")/release
binaries=("$target/megaconn" "$target/megaconn-client")

# ---- what is needed here --------------------------------------------------------------------

missing=()
needs() { command -v "$1" >/dev/null || missing+=("$2"); }
needs qemu-system-x86_64 qemu-system-x86
needs cpio cpio
needs gzip gzip
needs dpkg-deb dpkg
needs apt-get apt
if ((${#missing[@]})); then
    refuse "missing: ${missing[*]}" "sudo apt-get install --no-install-recommends ${missing[*]}"
fi
[[ $(uname -m) == x86_64 ]] ||
    refuse "this host is no x86_64, its binaries would not run there" "run this on x86_64"
for binary in "${binaries[@]}"; do
    [[ -x $binary ]] || refuse "no $binary" "cargo build --release"
done

work=$(mktemp -d)
machine=''
# shellcheck disable=SC2317,SC2329  # called by the traps
end_all() {
    [[ -z $machine ]] || kill "$machine" 2>/dev/null || true
    rm -rf "$work"
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Downloads a package of Debian and unpacks it into $work/$1.
unpack() {
    local package=$1
    (cd "$work" && apt-get download "$package" >apt.log 2>&1) || {
        cat "$work/apt.log" >&2
        refuse "apt cannot download $package" \
            "sudo apt-get update; the kernel is in Debian bookworm (or give one by -k)"
    }
    mkdir "$work/$package"
    dpkg-deb -x "$work/${package}"_*.deb "$work/$package"
}

unpack busybox-static
if [[ -z $kernel ]]; then
    package=$(apt-cache search --names-only '^linux-image-6\.1\.0-[0-9]+-cloud-amd64$' |
        cut -d ' ' -f 1 | sort -V | tail -n 1)
    [[ -n $package ]] || refuse "apt knows no linux-image-6.1.0-*-cloud-amd64" \
        "sudo apt-get update with the sources of Debian bookworm, or give a kernel by -k"
    unpack "$package"
    kernel=$(find "$work/$package/boot" -name 'vmlinuz-6.1.*')
fi

# ---- the machine's files: busybox, the two binaries, their libraries, an init ------------------

tree=$work/tree
mkdir -p "$tree"/{bin,dev,etc,proc,sys,tmp}
cp "$work/busybox-static/bin/busybox" "${binaries[@]}" "$tree/bin/"
ldd "${binaries[@]}" | grep -o '/[^ ]*\.so[^ ]*' | sort -u | while read -r library; do
    mkdir -p "$tree$(dirname "$library")"
    cp -L "$library" "$tree$library"
done
echo 'tester:x:'"$user:$user"'::/tmp:/bin/sh' >"$tree/etc/passwd"

# The words connections=, cores= ... of the kernel's command line are in init's environment.
cat >"$tree/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
ip link set lo up
mkdir -m 777 /tmp/run
chmod 1777 /tmp
ulimit -n 20000
start-stop-daemon -S -c "$user" -x /bin/megaconn -- serve --listen "$listen" --cores "$cores" \
    --stats /tmp/run/server.ndjson 2>/tmp/server.log &
for _ in $(seq 100); do
    grep -q '^listening' /tmp/server.log && break
    sleep 0.2
done
timeout -s INT "$bound_s" start-stop-daemon -S -c "$user" -x /bin/megaconn-client -- run \
    --target "$listen" --cores "$cores" --connections "$connections" \
    --message-count "$messages" --hold 3s --out /tmp/run \
    >/tmp/summary 2>/tmp/client.log
status=$?
echo "--- Linux $(uname -r), $(nproc) CPUs, user $user: the server said"
cat /tmp/server.log
echo "--- the client said"
cat /tmp/client.log
echo "--- result.json"
cat /tmp/run/result.json
echo
echo "--- summary"
cat /tmp/summary
dmesg | grep -E 'WARNING|BUG|stall|hung|Out of memory|SYN flooding'
echo "--- client ended with $status"
poweroff -f
INIT
chmod +x "$tree/init"
(cd "$tree" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initramfs.gz"

# ---- the run ------------------------------------------------------------------------------------

boot_s=120
words="connections=$connections messages=$messages cores=$cores listen=$listen user=$user bound_s=$bound_s"
status=0
timeout "$((bound_s + boot_s))" nice -n 10 qemu-system-x86_64 \
    -machine accel=tcg -cpu max -smp "$cpus" -m 4G -nographic -no-reboot -net none \
    -kernel "$kernel" -initrd "$work/initramfs.gz" \
    -append "console=ttyS0 panic=-1 quiet $words" </dev/null \
    > >(tr -d '\r' | tee "$work/console") &
machine=$!
wait "$machine" || status=$?
machine=''
[[ $status != 124 ]] || exit 124
ended=$(grep -o '^--- client ended with [0-9]*' "$work/console" | grep -o '[0-9]*$') ||
    { echo 'kernel-6.1: the machine ended before the client did' >&2; exit 1; }
exit "$ended"
