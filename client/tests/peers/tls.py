"""Either end of TLS with Python's ssl, of one version, which echoes.

tls.py serve PORT VERSION CERTIFICATE KEY [CA]            with CA a client must show a certificate
tls.py dial PORT VERSION CA COUNT [CERTIFICATE KEY]       COUNT connections at once; prints `well`
tls.py resume PORT VERSION CA COUNT                       one after the other, each but the first resumed; prints `well`
"""

import socket
import ssl
import sys
import threading

role, port, version = sys.argv[1], int(sys.argv[2]), sys.argv[3]
more = sys.argv[4:]
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def only(context):
    context.minimum_version = context.maximum_version = VERSIONS[version]
    return context


def echo(context, link):
    try:
        with context.wrap_socket(link, server_side=True) as link:
            while data := link.recv(65536):
                link.sendall(data)
    except OSError:
        # Of a client without a certificate, and of the look whether something listens.
        pass


def serve(certificate, key, authority=None):
    context = only(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    context.load_cert_chain(certificate, key)
    if authority:
        context.load_verify_locations(authority)
        context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", port), backlog=1000)
    while True:
        link = listener.accept()[0]
        threading.Thread(target=echo, args=[context, link], daemon=True).start()


def talk(context, session=None):
    plain = socket.create_connection(("127.0.0.1", port), timeout=20)
    link = context.wrap_socket(plain, server_hostname="localhost", session=session)
    for size in 1, 100, 4096, 16384, 50000:
        link.sendall(b"x" * size)
        came = b""
        while len(came) < size:
            piece = link.recv(65536)
            assert piece, (size, len(came))
            came += piece
        assert came == b"x" * size, size
    return link


def client(authority, pair):
    context = only(ssl.create_default_context(cafile=authority))
    if pair:
        context.load_cert_chain(*pair)
    return context


def dial(authority, count, *pair):
    context = client(authority, pair)
    held = [talk(context) for _ in range(int(count))]
    for link in held:
        link.sendall(b"still")
        assert link.recv(5) == b"still"
    print("well")


def resume(authority, count):
    context = client(authority, [])
    session = None
    for at in range(int(count)):
        link = talk(context, session)
        assert link.session_reused == (at > 0), (at, link.session_reused)
        session = link.session
        link.unwrap().close()
    print("well")


{"serve": serve, "dial": dial, "resume": resume}[role](*more)
