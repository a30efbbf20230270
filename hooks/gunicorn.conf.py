"""How production runs either hook.

gunicorn -c gunicorn.conf.py 'kaito_hooks.web.machine:create_machine_app()'
"""

import gc

bind = "0.0.0.0:8080"

# One process per pod; more load is more replicas. The Machine hook's lock per Machine, its cache of
# the list of pools and the numbers at /metrics are per process.
workers = 1
worker_class = "gthread"

# More than kaito_hooks.web.MAX_IN_FLIGHT: probes are answered while every call waits for Azure.
threads = 16

# Metacontroller keeps two idle connections per host; closing them first would fail its next call.
keepalive = 75

# A worker that does not come back to its loop for that long is replaced. Calls to Azure give up
# long before.
timeout = 60

# A pod that is stopped lets the calls in flight end: a lost answer is a repeated call.
graceful_timeout = 25

# The root file system is read-only; the heartbeat file belongs in memory.
worker_tmp_dir = "/dev/shm"  # noqa: S108  memory, and the pod's own

# The app writes one JSON line per call itself.
accesslog = None
errorlog = "-"
loglevel = "warning"
# Nobody operates the process from inside its container.
control_socket_disable = True


def post_worker_init(worker: object) -> None:  # noqa: ARG001  gunicorn passes it
    """Keep the app itself out of every collection: a full one stopped all calls for 20 ms, at 91 KB twice a second."""
    gc.collect()
    gc.freeze()
