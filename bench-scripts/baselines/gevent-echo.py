"""The baseline with gevent, made from the second seed's server: a greenlet for each connection of a
StreamServer with a backlog of 4096. It echoes, where the seed's greets and writes each so often.

usage: gevent-echo.py PORT. It listens on 127.0.0.1 and runs until SIGTERM.
"""
import sys

from gevent.server import StreamServer


def handle(socket, _address):
    try:
        while data := socket.recv(4096):
            socket.sendall(data)
    except OSError:
        pass  # A peer that fails is done with.


StreamServer(("127.0.0.1", int(sys.argv[1])), handle, backlog=4096).serve_forever()
