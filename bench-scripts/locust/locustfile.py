"""A user of Locust is a block of TCP connections.

    pip install ./bench-scripts/locust
    locust -f locustfile.py --host 127.0.0.1:7000 --block 1000 --message-every 10s

With 40 users at a spawn rate of 5 there are 40,000 connections, made at 5,000 a second. On many hosts it is the same
with `--master` here and `--worker --master-host ...` there; every worker needs `megaconn-client` in its PATH.
"""

from megaconn_locust import MegaconnUser


class Connections(MegaconnUser):
    """What is not given on the command line, or on Locust's page, may be written here."""

    # target = "10.0.0.2:7000"
    # block = 1000
    # message_every = "10s"
    # expect = "echo"
    # client_args = "--rate 20k/s --message-bytes 256"
