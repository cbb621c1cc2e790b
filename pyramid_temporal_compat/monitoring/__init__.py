"""Probes and metrics: what a process tells its supervisor, and Prometheus.

`http_server.py`    answers GET requests in a thread of its own, whatever the application does
`worker_health.py`  whether a worker is alive, and whether it is ready
`memory.py`         the memory that a process and its children use
`watch.py`          what a worker tells of each task that it takes
`task_metrics.py`   the same, as Prometheus counters with the names of celery-exporter
`worker_pages.py`   the pages of a worker: /live, /ready, /metrics
`web_metrics.py`    the metrics of a web process
`dispatch_metrics.py` how dispatches end: of a web process, and of the calls that tasks make
`readiness.py`      whether a web process can dispatch
`sdk_metrics.py`    the metrics of Temporal's client library

`exporter.py`, beside this package, has the metrics that belong to no single worker: queues, workers, outbox, schedules.
"""
