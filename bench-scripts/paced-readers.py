#!/usr/bin/env python3
"""Peers that send all that goes and read at a steady pace: which of them does a server cut, and when?

Start a server first, then: paced-readers.py PORT [--host ADDRESS] [--seconds 120] [PEER ...]
A PEER is RATE[:RECEIVE_BUFFER[:FAST]]: it reads RATE KiB/s (0 reads nothing), has a receive buffer of so
many bytes asked for (none is the usual one), and reads all that comes for the first FAST seconds. A line
for each peer says how long it lived, for how long the server's kernel saw no byte acknowledged, at most,
and how many bytes were acknowledged at once (`bytes_acked` of `ss`, in the network namespace --of).
"""

import argparse
import socket
import subprocess
import time

CHUNK = b"x" * 65536
LOOK_EVERY = 0.25


class Peer:
    def __init__(self, address, text):
        rate, receive_buffer, fast = (text.split(":") + ["", ""])[:3]
        self.name, self.rate, self.fast = text, float(rate), float(fast or 0)
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, int(receive_buffer))
        self.socket.connect(address)
        self.socket.setblocking(False)
        self.port = self.socket.getsockname()[1]
        self.began = time.monotonic()
        self.paced = self.began + self.fast
        self.read, self.end = 0, None
        self.acked, self.since, self.pause, self.step = 0, self.began, 0.0, 0

    def act(self, now):
        try:
            self.send()
            if now < self.paced:
                self.receive(1 << 24)
            else:
                self.read += self.receive(int((now - self.paced) * self.rate * 1024) - self.read)
        except OSError as error:
            self.end = (now, error)

    def send(self):
        try:
            for _ in range(64):
                self.socket.send(CHUNK)
        except BlockingIOError:
            pass

    def receive(self, most):
        got = 0
        try:
            while got < most:
                bytes_ = len(self.socket.recv(min(most - got, 65536)))
                if not bytes_:
                    raise ConnectionError("end of stream")
                got += bytes_
        except BlockingIOError:
            pass
        return got

    def look(self, now, acked):
        if acked != self.acked:
            # What was acknowledged while it read fast, or before its buffer was full, is no step.
            if now > self.paced + 1 and self.since > self.paced + 0.5:
                self.step = max(self.step, acked - self.acked)
            self.acked, self.since = acked, now
        if now > self.paced:
            self.pause = max(self.pause, now - max(self.since, self.paced))

    def __str__(self):
        fate = "lives"
        if self.end:
            at, error = self.end
            fate = f"cut after {at - self.began:.1f} s, {at - self.since:.1f} s after its last byte ({error})"
        buffer = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        return (
            f"{self.name} KiB/s: {fate}; read {self.read} bytes; longest time without a byte acknowledged "
            f"{self.pause:.1f} s, largest step {self.step} bytes, receive buffer at the end {buffer} bytes"
        )


def bytes_acked(port, of):
    command = ["ss", "-tinHO", f"sport = :{port}"] + (["-N", of] if of else [])
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    acked = {}
    for fields in (line.split() for line in lines):
        count = [int(f.split(":")[1]) for f in fields if f.startswith("bytes_acked:")]
        if len(fields) > 4 and count:
            acked[int(fields[4].rsplit(":", 1)[1])] = count[0]
    return acked


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("peers", nargs="*", default=["0", "1", "8", "32", "64"])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--of", default="")
    parser.add_argument("--seconds", type=float, default=120)
    options = parser.parse_intermixed_args()
    peers = [Peer((options.host, options.port), text) for text in options.peers]
    until = time.monotonic() + options.seconds
    look_at = 0.0
    while time.monotonic() < until:
        for peer in peers:
            if not peer.end:
                peer.act(time.monotonic())
        if time.monotonic() >= look_at:
            look_at = time.monotonic() + LOOK_EVERY
            acked = bytes_acked(options.port, options.of)
            for peer in peers:
                if not peer.end and peer.port in acked:
                    peer.look(time.monotonic(), acked[peer.port])
        time.sleep(0.02)
    for peer in peers:
        print(peer, flush=True)


main()
