#!/usr/bin/env python3
"""Peers that send all that goes and read at a steady pace: which of them does a server cut, and when?

Start a server first, then: paced-readers.py PORT [--seconds 120] [--rates 0,1,8,32,64]
[--receive-buffer BYTES]. A rate is in KiB/s; 0 reads nothing. A line for each peer says how long it
lived, and for how long the server's kernel saw no byte acknowledged, at most (Send-Q of `ss`).
"""

import argparse
import socket
import subprocess
import time

CHUNK = b"x" * 65536


class Peer:
    def __init__(self, port, rate, receive_buffer):
        self.rate, self.socket = rate, socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.port = self.socket.getsockname()[1]
        self.began = time.monotonic()
        self.read, self.end, self.queue, self.since, self.longest = 0, None, None, self.began, 0.0

    def act(self, now):
        try:
            try:
                while True:
                    self.socket.send(CHUNK)
            except BlockingIOError:
                pass
            due = int((now - self.began) * self.rate * 1024)
            try:
                while self.read < due:
                    got = self.socket.recv(min(due - self.read, 65536))
                    if not got:
                        raise ConnectionError("end of stream")
                    self.read += len(got)
            except BlockingIOError:
                pass
        except OSError as error:
            self.end = (now, error)

    def look(self, now, queue):
        if queue != self.queue:
            self.queue, self.since = queue, now
        self.longest = max(self.longest, now - self.since)

    def __str__(self):
        fate = "lives"
        if self.end:
            at, error = self.end
            fate = f"cut after {at - self.began:.1f} s, {at - self.since:.1f} s after its last byte ({error})"
        return (
            f"{self.rate:g} KiB/s: {fate}; read {self.read} bytes; "
            f"longest time without a byte acknowledged {self.longest:.1f} s"
        )


def send_queues(port):
    lines = subprocess.run(
        ["ss", "-tnH", f"sport = :{port}"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    fields = [line.split() for line in lines]
    return {int(f[4].rsplit(":", 1)[1]): int(f[2]) for f in fields if len(f) > 4}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--rates", default="0,1,8,32,64")
    parser.add_argument("--receive-buffer", type=int, default=0)
    options = parser.parse_args()
    rates = [float(rate) for rate in options.rates.split(",")]
    peers = [Peer(options.port, rate, options.receive_buffer) for rate in rates]
    until = time.monotonic() + options.seconds
    while time.monotonic() < until:
        for peer in peers:
            if not peer.end:
                peer.act(time.monotonic())
        queues = send_queues(options.port)
        for peer in peers:
            if not peer.end and peer.port in queues:
                peer.look(time.monotonic(), queues[peer.port])
        time.sleep(0.1)
    for peer in peers:
        print(peer, flush=True)


main()
