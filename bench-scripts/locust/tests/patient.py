"""For a machine that is busy with other tests, and that does not wait a minute for what is gone."""

import locust.runners

# A worker is missing after so many seconds without a sign of it, not after 3.
locust.runners.HEARTBEAT_LIVENESS = 6

# A worker quits after so many without one of its master, not after 60.
locust.runners.MASTER_HEARTBEAT_TIMEOUT = 10
