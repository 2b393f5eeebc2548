"""Peers that send and never read: each sends until nothing more is taken, and then waits to send.

usage: never-read.py ADDRESS PORT COUNT. Says "ready" when nothing has been taken for a second; ends
when its stdin does, and says how many the server had ended by then.
"""
import select
import socket
import sys

address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
# Small buffers, so that ten thousand of them fit the kernel's memory for TCP.
BUFFER = 4096
PIECE = b"x" * 4096


def connect(number):
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    # Source addresses of their own, so that ports suffice; 24 is IP_BIND_ADDRESS_NO_PORT.
    peer.setsockopt(socket.IPPROTO_IP, 24, 1)
    peer.bind((f"127.0.1.{1 + number % 200}", 0))
    peer.connect((address, port))
    peer.setblocking(False)
    return peer


peers = {}
poll = select.epoll()
for number in range(count):
    peer = connect(number)
    peers[peer.fileno()] = peer
    poll.register(peer, select.EPOLLOUT)
poll.register(sys.stdin, select.EPOLLIN)
ready, ended = False, 0
while True:
    events = poll.poll(timeout=-1 if ready else 1)
    if not events:
        ready = True
        print("ready", flush=True)
    for descriptor, _ in events:
        if descriptor == sys.stdin.fileno():
            print(f"{len(peers)} held, {ended} ended by the server", flush=True)
            sys.exit()
        peer = peers[descriptor]
        try:
            peer.send(PIECE)
        except BlockingIOError:
            pass
        except OSError:
            ended += 1
            poll.unregister(peer)
            peers.pop(descriptor).close()
