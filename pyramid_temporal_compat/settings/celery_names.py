"""Celery's settings that concern tasks, workers and schedules; `celery_parts.py` has the settings of brokers and stores."""

from __future__ import annotations

import datetime

from .declare import Setting, acts, equivalent, refused
from .values import anything, boolean, concurrency, integer, mapping, number, seconds, text, words, words_or_json, zone

ROUTE_BY_QUEUE = (
    "Temporal has task queues and no exchanges: name the queue with `queue`, task_routes or task_default_queue."
)
ONE_QUEUE_TYPE = (
    "Temporal has one type of task queue, which is durable and made on first use. There is nothing to choose."
)
HISTORY_IS_EVENTS = "The server keeps every task's events: see its web UI."
NO_POLLING = "A chord is one workflow, which knows when its members have ended, so nothing polls."
CLIENT_RETRIES = "The Temporal client itself repeats a call that failed for a temporary reason."
SERVER_DELAYS = "The server holds delayed tasks. A worker gets a task when it is due."
SLOTS = "A worker takes a task only when a slot is free. worker_concurrency (-c) is the number of slots."
NO_BEAT_PROCESS = "The server keeps the schedules and starts the tasks. No process of beat runs."
RUN_BY_OTHERS = (
    "Set this where the process is started (systemd, supervisor, a container), or with the command's own option."
)
RETENTION = "Results are kept for the namespace's retention time: `temporal operator namespace update --retention`."
RETRY_INSTEAD = "A failed run has no message to give back. Use autoretry_for or self.retry() to run it again."

PROCESS_LOG = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
TASK_LOG = "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s"

# One row a setting reads as a table; broken over lines it does not.
# fmt: off
# ruff: noqa: E501
GENERAL: tuple[Setting, ...] = (
    acts("accept_content", words, ("json",), "The content types that tasks may arrive in.", "CELERY_ACCEPT_CONTENT"),
    acts("result_accept_content", words, None, "The content types that results may arrive in. Without a value: accept_content.", "RESULT_ACCEPT_CONTENT"),
    acts("enable_utc", boolean, True, "Keep times in UTC instead of local time.", "ENABLE_UTC", "CELERY_ENABLE_UTC"),
    acts("timezone", zone, None, "The time zone of `crontab()` objects and of times without a zone. Without a value: UTC.", "CELERY_TIMEZONE"),
    acts("imports", words, (), "Modules to import when a worker starts.", "CELERY_IMPORTS"),
    acts("include", words, (), "More modules to import when a worker starts.", "CELERY_INCLUDE"),
)

TASK: tuple[Setting, ...] = (
    acts("task_acks_late", boolean, None, "A lost worker's tasks run again; this is also the behaviour without a value. An explicit false makes them fail with WorkerLostError."),
    acts("task_acks_on_failure_or_timeout", boolean, True, "The value of task_acks_on_timeout if that has none."),
    equivalent("task_acks_on_failure", boolean, None, "Acknowledge a task that failed.", RETRY_INSTEAD),
    acts("task_acks_on_timeout", boolean, None, "An explicit false, together with acks_late, runs a task again that was stopped at its time_limit, at most ptemporal.lost_worker_attempts times."),
    acts("task_allow_error_cb_on_chord_header", boolean, False, "Link a chord's errback to each task of its header."),
    acts("task_always_eager", boolean, False, "Run tasks where they are called, without a server.", "CELERY_ALWAYS_EAGER", "CELERY_TASK_ALWAYS_EAGER"),
    acts("task_annotations", anything, None, "Change any attribute of tasks, by task name."),
    acts("task_compression", text, None, "How arguments are compressed.", "CELERY_MESSAGE_COMPRESSION", "CELERY_COMPRESSION"),
    acts("task_create_missing_queues", boolean, True, "Allow queues that task_queues does not name."),
    refused("task_create_missing_queue_type", text, "classic", "The type of a queue that task_queues does not name.", ONE_QUEUE_TYPE),
    refused("task_create_missing_queue_exchange_type", text, None, "The exchange type of a queue that task_queues does not name.", ONE_QUEUE_TYPE),
    equivalent("task_default_delivery_mode", anything, 2, "Whether messages survive the broker's restart.", "Every message is stored by the server before `delay` or the commit returns."),
    refused("task_default_exchange", text, None, "The exchange of tasks without a route.", ROUTE_BY_QUEUE),
    refused("task_default_exchange_type", text, "direct", "The type of the default exchange.", ROUTE_BY_QUEUE),
    acts("task_default_priority", integer, None, "The priority of tasks that set none."),
    acts("task_default_queue", text, "celery", "The queue of tasks without a route."),
    refused("task_default_queue_type", text, "classic", "The type of the default queue.", ONE_QUEUE_TYPE),
    acts("task_default_rate_limit", text, None, "The rate limit of tasks that set none."),
    refused("task_default_routing_key", text, None, "The routing key of tasks without a route.", ROUTE_BY_QUEUE),
    acts("task_eager_propagates", boolean, False, "Raise an eager task's exception where it was called.", "CELERY_EAGER_PROPAGATES_EXCEPTIONS", "CELERY_EAGER_PROPAGATES"),
    acts("task_ignore_result", boolean, False, "Keep no results."),
    acts("task_inherit_parent_priority", boolean, False, "A task gets the priority of the task that called it."),
    refused("task_protocol", integer, 2, "The version of Celery's message format.", "Messages have this package's own format, which carries its version. There is nothing to choose.", "CELERY_TASK_PROTOCOL"),
    acts("task_publish_retry", boolean, True, "Whether sending is tried again while the server is unreachable. ptemporal.dispatch_timeout is a limit too.", "CELERY_TASK_PUBLISH_RETRY", "CELERY_PUBLISH_RETRY"),
    acts("task_publish_retry_policy", mapping, {"max_retries": 3, "interval_start": 0, "interval_max": 1, "interval_step": 0.2}, "How often and how soon sending is tried again. With the default, as often as ptemporal.dispatch_timeout allows.", "CELERY_TASK_PUBLISH_RETRY_POLICY", "CELERY_PUBLISH_RETRY_POLICY"),
    equivalent("task_queue_max_priority", integer, None, "The highest priority of queues.", "Every queue has the priorities 0 to 9, which are mapped to Temporal's priority keys, 1 to 5. With a higher value, calls may give priorities up to it; they count as 9."),
    acts("task_queues", words_or_json, None, "The queues that a worker serves if it is started without -Q."),
    acts("task_reject_on_worker_lost", boolean, None, "A task whose process died runs again; this is also the behaviour without a value. An explicit false makes it fail with WorkerLostError.", "CELERY_REJECT_ON_WORKER_LOST", "CELERY_TASK_REJECT_ON_WORKER_LOST"),
    acts("task_retry_on_worker_lost", boolean, False, "A task whose process died is retried, within its max_retries and after its default_retry_delay. Otherwise it runs again at once."),
    equivalent("task_remote_tracebacks", boolean, False, "Raise errors with the worker's traceback.", "`get()` always raises with the worker's traceback."),
    acts("task_repr_maxlevels", integer, 3, "How deep arguments are shown in logs and in the UI."),
    acts("task_routes", anything, None, "Which task goes to which queue, by name, glob, regex or function."),
    equivalent("task_send_sent_event", boolean, False, "Send an event when a task is sent.", HISTORY_IS_EVENTS, "CELERY_SEND_TASK_SENT_EVENT", "CELERY_SEND_SENT_EVENT"),
    acts("task_serializer", text, "json", "How arguments are serialised.", "CELERY_TASK_SERIALIZER"),
    acts("task_soft_time_limit", seconds, None, "When SoftTimeLimitExceeded is raised inside a task.", "CELERYD_TASK_SOFT_TIME_LIMIT", "CELERYD_SOFT_TIME_LIMIT"),
    refused("task_store_eager_result", boolean, False, "Store an eager task's result.", "An eager task has no workflow that could keep its result. Use the EagerResult that the call returns."),
    equivalent("task_store_errors_even_if_ignored", boolean, False, "Keep a task's error even if its result is ignored.", "The server keeps every task's error, also if the result is ignored."),
    acts("task_time_limit", seconds, None, "When a task is stopped, and fails with TimeLimitExceeded.", "CELERYD_TASK_TIME_LIMIT", "CELERYD_TIME_LIMIT"),
    equivalent("task_track_started", boolean, False, "Report STARTED.", "STARTED is always reported.", "CELERY_TRACK_STARTED", "CELERY_TASK_TRACK_STARTED"),
)

RESULT: tuple[Setting, ...] = (
    refused("result_backend", text, None, "Where Celery keeps results.", "Temporal keeps the results, in each task's workflow: set ptemporal.address."),
    equivalent("result_backend_always_retry", boolean, False, "Repeat calls of the result store that failed.", CLIENT_RETRIES),
    equivalent("result_backend_base_sleep_between_retries_ms", integer, 10, "The first pause before such a repeat.", CLIENT_RETRIES),
    equivalent("result_backend_max_retries", number, float("inf"), "How often a call is repeated.", CLIENT_RETRIES),
    equivalent("result_backend_max_sleep_between_retries_ms", integer, 10000, "The longest pause before such a repeat.", CLIENT_RETRIES),
    refused("result_backend_thread_safe", boolean, None, "Share one result store between threads.", "One Temporal client serves all threads of a process, so there is nothing to choose."),
    refused("result_backend_transport_options", mapping, {}, "Options of the result store's transport.", "Temporal keeps the results, in each task's workflow: set ptemporal.address."),
    refused("override_backends", mapping, None, "More names of result stores.", "Temporal keeps the results, in each task's workflow: set ptemporal.address."),
    equivalent("result_cache_max", integer, -1, "How many results a client keeps in memory.", "Each AsyncResult keeps its result after it has read it.", "CELERY_MAX_CACHED_RESULTS"),
    equivalent("result_chord_expires", seconds, None, "How long a chord's header is kept.", RETENTION),
    equivalent("result_chord_join_timeout", seconds, 3.0, "How long to wait for a chord's members.", NO_POLLING),
    equivalent("result_chord_retry_interval", seconds, 1.0, "How often a chord is polled.", NO_POLLING),
    acts("result_compression", text, None, "How results are compressed."),
    refused("result_exchange", text, "celeryresults", "The exchange of results.", ROUTE_BY_QUEUE),
    refused("result_exchange_type", text, "direct", "The type of the exchange of results.", ROUTE_BY_QUEUE),
    equivalent("result_expires", seconds, datetime.timedelta(days=1), "How long results are kept.", RETENTION, "CELERY_TASK_RESULT_EXPIRES", "CELERY_RESULT_EXPIRES"),
    equivalent("result_extended", boolean, False, "Keep name, arguments and queue with the result.", "Name, arguments and queue are always kept, because the task's workflow carries them."),
    equivalent("result_failure_expires", seconds, None, "How long failures are kept.", RETENTION),
    equivalent("result_persistent", boolean, None, "Whether results survive the broker's restart.", "Every result is stored by the server."),
    acts("result_serializer", text, "json", "How results are serialised."),
)

WORKER: tuple[Setting, ...] = (
    refused("worker_agent", text, None, "A thread that supervises the worker.", RUN_BY_OTHERS),
    refused("worker_autoscaler", text, "celery.worker.autoscale:Autoscaler", "The class that scales the pool.", "The pool scales itself between the two numbers of `--autoscale`. There is no class to replace."),
    equivalent("worker_cancel_long_running_tasks_on_connection_loss", boolean, False, "Stop late-acknowledged tasks when the connection to the broker is lost.", "A worker that can't reach the server for ptemporal.heartbeat_timeout loses its tasks and cancels them."),
    acts("worker_concurrency", concurrency, None, "How many tasks run at a time. Without a value: one for each processor."),
    refused("worker_consumer", text, "celery.worker.consumer:Consumer", "The class that consumes messages.", "A Temporal worker polls the server. Use the worker_* signals, or the task signals, instead."),
    equivalent("worker_deduplicate_successful_tasks", boolean, False, "Don't run a redelivered task that has succeeded before.", "The server starts one workflow for a task id. It runs the task again only if the worker was lost."),
    refused("worker_detect_quorum_queues", boolean, True, "Look for RabbitMQ's quorum queues.", ONE_QUEUE_TYPE),
    acts("worker_direct", boolean, False, "Also serve a queue named after the worker's node name.", "CELERY_WORKER_DIRECT"),
    equivalent("worker_disable_prefetch", boolean, False, "Take no task before a process is free.", SLOTS),
    acts("worker_disable_rate_limits", boolean, False, "Ignore rate limits.", "CELERY_DISABLE_RATE_LIMITS"),
    equivalent("worker_enable_prefetch_count_reduction", boolean, True, "Prefetch less after the connection was lost.", SLOTS),
    acts("worker_enable_remote_control", boolean, True, "Answer control and inspect calls.", "CELERY_ENABLE_REMOTE_CONTROL"),
    equivalent("worker_enable_soft_shutdown_on_idle", boolean, False, "Wait at shutdown even if no task runs.", SERVER_DELAYS),
    equivalent("worker_eta_task_limit", integer, None, "How many delayed tasks a worker holds.", SERVER_DELAYS),
    acts("worker_hijack_root_logger", boolean, True, "Set up the root logger. With an ini file, the logging sections of the ini are used instead."),
    acts("worker_log_color", boolean, None, "Log in colours. Without a value: on a terminal."),
    acts("worker_log_datefmt", text, None, "The form of dates in the log."),
    acts("worker_log_format", text, PROCESS_LOG, "The form of log lines.", "CELERYD_LOG_FORMAT", "CELERY_WORKER_LOG_FORMAT"),
    equivalent("worker_lost_wait", seconds, 10.0, "How long to wait for a dead process's result.", "The worker knows at once which task a dead process had, and the task runs again.", "CELERYD_WORKER_LOST_WAIT"),
    acts("worker_max_memory_per_child", integer, None, "The memory in KiB after which a process is replaced."),
    acts("worker_max_tasks_per_child", integer, None, "How many tasks a process runs before it is replaced."),
    acts("worker_pool", text, "prefork", "How tasks run side by side: prefork, threads or solo."),
    equivalent("worker_pool_putlocks", boolean, True, "Give the pool no more tasks than it can run.", SLOTS),
    refused("worker_pool_restarts", boolean, False, "Allow the pool_restart control command.", "Restart the worker: its tasks finish, or run again elsewhere. No task is lost."),
    equivalent("worker_pool_start_method", text, "fork", "How processes are started.", "Children are forked from a process that has no threads, which is the usual reason to ask for spawn."),
    equivalent("worker_prefetch_multiplier", integer, 4, "How many messages to prefetch for each process.", SLOTS),
    acts("worker_proc_alive_timeout", seconds, 4.0, "How long a new process may take to start."),
    acts("worker_redirect_stdouts", boolean, True, "Log what tasks print.", "CELERY_REDIRECT_STDOUTS", "CELERYD_REDIRECT_STDOUTS"),
    acts("worker_redirect_stdouts_level", text, "WARNING", "The level at which printed text is logged.", "CELERY_REDIRECT_STDOUTS_LEVEL", "CELERYD_REDIRECT_STDOUTS_LEVEL"),
    equivalent("worker_send_task_events", boolean, False, "Send events about tasks.", HISTORY_IS_EVENTS, "CELERY_SEND_EVENTS"),
    equivalent("worker_soft_shutdown_timeout", seconds, 0.0, "How long running tasks may go on before a cold shutdown.", "Set ptemporal.graceful_timeout, or `--graceful-timeout`."),
    equivalent("worker_state_db", text, None, "The file that remembers revoked tasks.", "The server remembers revoked tasks, so a worker needs no file."),
    acts("worker_task_log_datefmt", text, None, "The form of dates in tasks' log lines."),
    acts("worker_task_log_format", text, TASK_LOG, "The form of tasks' log lines.", "CELERYD_TASK_LOG_FORMAT", "CELERY_WORKER_TASK_LOG_FORMAT"),
    refused("worker_timer", text, None, "The class that keeps time.", SERVER_DELAYS),
    equivalent("worker_timer_precision", seconds, 1.0, "How exactly delayed tasks start.", SERVER_DELAYS),
)

BEAT: tuple[Setting, ...] = (
    acts("beat_cron_starting_deadline", integer, None, "How many seconds late a missed run of a crontab is still started, at most."),
    equivalent("beat_enable_remote_control", boolean, False, "Let beat answer control calls.", "`ptemporal-compat schedule` lists, pauses and triggers schedules."),
    equivalent("beat_remote_control_max_tick_age", seconds, None, "When beat counts as stuck.", NO_BEAT_PROCESS),
    acts("beat_max_loop_interval", seconds, 0, "The longest time until a schedule that only its class can evaluate is asked again. 0: five minutes."),
    acts("beat_schedule", mapping, {}, "The periodic tasks."),
    equivalent("beat_schedule_filename", text, "celerybeat-schedule", "The file that remembers the last runs.", "The server remembers the last runs."),
    refused("beat_scheduler", text, "celery.beat:PersistentScheduler", "The class that keeps the schedule.", "The server keeps the schedules. ptemporal.schedules names a callable that reads entries from a database."),
    equivalent("beat_sync_every", integer, 0, "How often the file of last runs is written.", "The server remembers the last runs."),
)

SECURITY: tuple[Setting, ...] = (
    acts("security_cert_store", text, None, "The certificates that messages may be signed with; read by app.setup_security()."),
    acts("security_certificate", text, None, "The certificate that messages are signed with; read by app.setup_security()."),
    acts("security_digest", text, "sha256", "The digest of signatures; read by app.setup_security()."),
    acts("security_key", text, None, "The key that messages are signed with; read by app.setup_security()."),
    acts("security_key_password", text, None, "The password of security_key; read by app.setup_security()."),
)

DAEMON: tuple[Setting, ...] = tuple(
    refused(f"{program}_{name}", text, None, f"{program.title()}: {help}", RUN_BY_OTHERS)
    for program in ("worker", "beat", "events")
    for name, help in (
        ("logfile", "the file to log to."),
        ("pidfile", "the file that holds the process id."),
        ("uid", "the user to run as."),
        ("gid", "the group to run as."),
        ("umask", "the mask of new files."),
        ("executable", "the Python to run."),
    )
)
