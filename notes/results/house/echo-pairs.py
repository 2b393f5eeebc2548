"""Server CPU for each message of two builds, 500 busy connections, in alternating pairs.

usage: echo-pairs.py BEFORE_DIR AFTER_DIR CLIENT PAIRS > echo-pairs.csv
Each DIR has `megaconn`; the same client drives both. The server runs on CPU 0, the client on CPU 1.
"""
import csv, os, subprocess, sys, time

before, after, client, pairs = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
CONNECTIONS, MESSAGES = 500, 1000
tick = os.sysconf("SC_CLK_TCK")


def cpu(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / tick


def one(name, directory, port):
    server = subprocess.Popen([f"{directory}/megaconn", "serve", "--listen", f"127.0.0.1:{port}", "--cores", "0"],
                              stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        at = cpu(server.pid)
        began = time.monotonic()
        done = subprocess.run([client, "run", "--target", f"127.0.0.1:{port}", "--cores", "1", "--connections", str(CONNECTIONS),
                               "--message-count", str(MESSAGES), "--hold", "0s", "--close", "reset"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = time.monotonic() - began
        spent = cpu(server.pid) - at
        assert done.returncode == 0, f"{name}: the client ended with {done.returncode}"
        return spent / (CONNECTIONS * MESSAGES) * 1e6, seconds
    finally:
        server.terminate()
        server.wait()


out = csv.writer(sys.stdout)
out.writerow(["pair", "before_us", "after_us", "ratio", "before_s", "after_s"])
for pair in range(pairs):
    order = [("before", before), ("after", after)]
    if pair % 2:
        order.reverse()
    got = {name: one(name, directory, 7600 + 2 * pair + i) for i, (name, directory) in enumerate(order)}
    b, a = got["before"], got["after"]
    out.writerow([pair, f"{b[0]:.4f}", f"{a[0]:.4f}", f"{a[0] / b[0]:.4f}", f"{b[1]:.2f}", f"{a[1]:.2f}"])
    sys.stdout.flush()
