"""Peers that do what they should not, bounded in number and time: for hostile.sh.

usage: hostile-peers.py KIND PORT CONNECTIONS SECONDS

Every kind opens CONNECTIONS to 127.0.0.1:PORT, goes on for SECONDS, and tells how many there were and how many the
server has ended.

  hello      the whole first message of a handshake of TLS, and then silence
  trickle    in TLS, a record of 16 KiB that comes a byte at a time, 100 bytes a second
  fragments  in WebSocket, a text of fragments without end, 10 a second
  closes     in TLS, messages whose echo is not read, and then an end while they go on
"""

import os
import socket
import ssl
import struct
import sys
import time

PATIENCE = 10.0


def context():
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


class Tls:
    """A client's end in memory: what it would send is ours to send."""

    def __init__(self, made):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.end = made.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def hello(self):
        try:
            self.end.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()

    def shake(self, stream):
        while True:
            try:
                self.end.do_handshake()
                stream.sendall(self.outgoing.read())
                return
            except ssl.SSLWantReadError:
                stream.sendall(self.outgoing.read())
                came = stream.recv(16384)
                if not came:
                    raise ConnectionError("the server has ended a handshake") from None
                self.incoming.write(came)

    def record(self, text):
        self.end.write(text)
        return self.outgoing.read()


def connect(port):
    return socket.create_connection(("127.0.0.1", port), PATIENCE)


def each(streams, until, every, do):
    """Calls `do` with the number and the stream of each, `every` so many seconds, and drops those that have ended."""
    ended = set()
    while time.monotonic() < until:
        begun = time.monotonic()
        for number, stream in enumerate(streams):
            if number in ended:
                continue
            try:
                do(number, stream)
            except OSError:
                ended.add(number)
        time.sleep(max(0.0, every - (time.monotonic() - begun)))
    return len(ended)


def hellos(port, count, until):
    made = context()
    streams = [connect(port) for _ in range(count)]
    for stream in streams:
        stream.sendall(Tls(made).hello())
        stream.setblocking(False)
    return each(streams, until, 1.0, is_open)


def is_open(_, stream):
    try:
        while stream.recv(65536):
            pass
    except BlockingIOError:
        return
    raise ConnectionError


def trickles(port, count, until):
    made, streams, records = context(), [], []
    for _ in range(count):
        stream, tls = connect(port), Tls(made)
        tls.shake(stream)
        streams.append(stream)
        records.append(tls.record(os.urandom(16384)))

    at = [0] * count

    def trickle(number, stream):
        place = at[number] % len(records[number])
        stream.sendall(records[number][place : place + 1])
        at[number] += 1

    return each(streams, until, 0.01, trickle)


def fragments(port, count, until):
    request = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    request += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    streams = [connect(port) for _ in range(count)]
    for stream in streams:
        stream.sendall(request)
        stream.recv(4096)
        stream.setblocking(False)
    first = [True] * count

    def fragment(number, stream):
        # Without FIN: a text, and what continues it; the mask is of zeros.
        opcode = 1 if first[number] else 0
        first[number] = False
        stream.sendall(struct.pack("!BBI", opcode, 0x80 | 100, 0) + b"x" * 100)
        is_open(number, stream)

    return each(streams, until, 0.1, fragment)


def closes(port, count, until):
    made = context()
    closed = 0
    while time.monotonic() < until:
        for _ in range(count):
            stream, tls = connect(port), Tls(made)
            tls.shake(stream)
            stream.sendall(tls.record(b"x" * 4000))
            stream.close()
            closed += 1
        time.sleep(0.2)
    return closed


def main():
    kind, port, count, seconds = sys.argv[1], *map(int, sys.argv[2:5])
    until = time.monotonic() + seconds
    do = {"hello": hellos, "trickle": trickles, "fragments": fragments, "closes": closes}[kind]
    ended = do(port, count, until)
    print(f"{kind}: {count} peers, {ended} ended")


main()
