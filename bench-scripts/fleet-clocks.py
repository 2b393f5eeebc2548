"""Opens the kept ssh connection to each host of fleet.sh, and over it asks for the host's clock a few times.

usage: fleet-clocks.py DIR SKEW N HOST... ssh [OPTION...]

The answer that came soonest says best how far a clock is from the one here. Exit status 1, with a line for each, when
a host is not reached or its clock is more than SKEW seconds off. DIR takes what ssh says.
"""

import os
import subprocess
import sys
import threading
import time

directory, skew, parts = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
hosts, ssh = sys.argv[4 : 4 + parts], sys.argv[4 + parts :]
ASK = "sh -c 'while read ask; do date +%s.%N; done'"
TRIES = 8
PATIENCE = 30
bad, offsets = [], []


def ask(host, log):
    """Half of a round trip, and how far the clock is ahead, of each answer."""
    with subprocess.Popen(
        [*ssh, host, ASK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, bufsize=1
    ) as there:
        watch = threading.Timer(PATIENCE, there.kill)
        watch.start()
        try:
            for _ in range(TRIES):
                began = time.time()
                there.stdin.write("\n")
                said = there.stdout.readline().strip()
                ended = time.time()
                if not said:
                    break
                yield (ended - began) / 2, float(said) - (began + ended) / 2
            there.stdin.close()
        finally:
            watch.cancel()
            there.kill()


def look(number, host):
    with open(f"{directory}/reach.{number}", "w+", encoding="utf-8", errors="replace") as log:
        words, seen = "", []
        try:
            seen = list(ask(host, log))
        except (OSError, ValueError) as error:
            words = str(error)
        if len(seen) < TRIES:
            log.seek(0)
            words = " ".join(log.read().split()[-30:]) or words or f"no answer within {PATIENCE} s"
            fix = "ssh to it must work without a question: a key, known hosts, --ssh '-i FILE'"
            bad.append(f"{host}: not reached: {words}; fix: {fix}")
            return
    error, offset = min(seen)
    offsets.append((abs(offset), f"{offset * 1e3:+.1f} ms ± {error * 1e3:.1f} ms ({host})"))
    if abs(offset) > skew:
        fix = "set it, by chronyd or ntpd there and here"
        bad.append(f"{host}: its clock is {offset:+.3f} s from the one here, and --skew is {skew} s; fix: {fix}")


threads = [threading.Thread(target=look, args=each) for each in enumerate(hosts)]
for thread in threads:
    thread.start()
try:
    for thread in threads:
        thread.join()
except KeyboardInterrupt:
    os._exit(130)
if bad:
    sys.exit("\n".join(sorted(bad)))
print(f"clocks: at most {max(offsets)[1]} from the one here", file=sys.stderr)
