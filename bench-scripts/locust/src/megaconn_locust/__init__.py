"""Users of Locust that are blocks of TCP connections, held by one `megaconn-client` in each worker."""

import locust

from megaconn_locust.options import add_options
from megaconn_locust.plugin import install
from megaconn_locust.user import MegaconnUser

__all__ = ["MegaconnUser", "install"]

# Whoever imports this in a locustfile has the options and the rest.
locust.events.init_command_line_parser.add_listener(add_options)
locust.events.init.add_listener(install)
