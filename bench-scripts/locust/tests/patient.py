"""For a machine that is busy with other tests: a worker is missing after 6 s without a sign of it, not after 3."""

import locust.runners

locust.runners.HEARTBEAT_LIVENESS = 6
