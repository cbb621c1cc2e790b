"""Our own settings, `ptemporal.*`."""

from __future__ import annotations

from .declare import Setting, own
from .values import address, boolean, choice, count, fraction, pollers, positive_seconds, seconds, text, whole, words

# One row a setting reads as a table; broken over lines it does not.
# fmt: off
# ruff: noqa: E501
OWN: tuple[Setting, ...] = (
    own("address", address, "localhost:7233", "The Temporal server, as host:port.", celery="broker_url"),
    own("namespace", text, "default", "The Temporal namespace that holds tasks and results."),
    own("api_key", text, None, "The API key sent with each call; it turns TLS on.", secret=True),
    own("tls", boolean, None, "Use TLS. Without a value: if an API key or a tls_* file is set.", celery="broker_use_ssl"),
    own("tls_server_name", text, None, "The name that the server's certificate must carry, if it differs from the address."),
    own("tls_ca_file", text, None, "A PEM file with the certificates to trust instead of the system's."),
    own("tls_cert_file", text, None, "A PEM file with the client certificate (mTLS)."),
    own("tls_key_file", text, None, "A PEM file with the client certificate's private key (mTLS)."),
    own("profile", text, None, "The profile to read from the Temporal configuration file."),
    own("config_file", text, None, "The Temporal configuration file (TOML), if it isn't in its usual place."),
    own("identity", text, None, "The name that this process shows to the server. Without a value: process id and host."),
    own("connect_timeout", positive_seconds, 10.0, "How long connecting to the server may take.", celery="broker_connection_timeout"),
    own("include", words, (), "Modules to import so that their tasks are known.", celery="include"),
    own("app", text, None, "The Celery-shaped app whose tasks and settings to use, as package.module:name."),
    own("app_key", text, None, "The key or attribute of the Pyramid registry that holds the application's Celery-shaped app. Without a value: the only app in the registry is found."),
    own("enlist", choice("auto", "required", "never"), "auto", "Whether a call joins the current transaction. auto: if a transaction has begun. required: always; without a transaction the call is an error. never: not at all."),
    own("outbox", text, None, "The SQLAlchemy session whose database keeps messages between commit and dispatch: a request attribute (dbsession), or a dotted name (myapp.models:DBSession). Without a value there is no outbox."),
    own("dispatch", choice("wait", "background"), "wait", "Whether the after-commit hook waits until the server has the messages."),
    own("dispatch_timeout", positive_seconds, 5.0, "How long the after-commit hook waits for the server, at most."),
    own("heartbeat_timeout", positive_seconds, 30.0, "How soon the server notices a killed worker and runs its tasks elsewhere."),
    own("lost_worker_attempts", whole, 10, "How often a task may lose its worker or its process before it fails with WorkerLostError. 0 means without limit."),
    own("receipts", boolean, False, "Whether a task's transaction also inserts a receipt, so that the task's writes are made once, however often it runs. Needs ptemporal.outbox."),
    own("receipts_expire", positive_seconds, 3 * 86400.0, "How long receipts are kept, at least. The receipts of open workflows stay longer."),
    own("unknown_task", choice("wait", "fail"), "wait", "What happens to a task that no worker knows. wait: it waits for a worker that knows it. fail: it fails with NotRegistered."),
    own("transaction_attempts", count, 3, "How often a task is tried, at most, if its transaction meets a transient database error."),
    own("graceful_timeout", seconds, None, "How long a stopping worker waits for its running tasks. Without a value: until all have finished.", celery="worker_soft_shutdown_timeout"),
    own("payload_limit", count, 2 * 1024 * 1024 - 4096, "The largest size in bytes of a task's arguments or result. The server's own limit, 2 MiB, also covers what travels with them."),
    own("encryption_keys", words, (), "Keys for payloads: the first key encrypts, all of them decrypt.", secret=True),
    own("encryption_required", boolean, False, "Refuse unencrypted payloads. Set this once all tasks that were sent unencrypted have ended."),
    own("bundle", whole, 2, "If a transaction sends at least this many tasks to one queue, they leave as one workflow, in one start. 0 means that each task leaves by itself."),
    own("canvas_batch", count, 250, "How many tasks of a group or chain one workflow runs. A larger group or chain is cut into several workflows."),
    own("canvas_at_once", count, 500, "How many tasks of one canvas may be in progress at a time. The server allows 2,000."),
    own("schedules", text, None, "A callable, as package.module:name, that gets the app and gives more periodic tasks than beat_schedule has: a mapping, or dicts with a name."),
    own("beat", choice("by-command", "on-start"), "by-command", "When the server's schedules are made equal to the declared ones. by-command: by `ptemporal-compat beat` and `worker -B`. on-start: whenever a worker starts."),
    own("interceptors", words, (), "Interceptors for Temporal's client and worker, by their dotted names: objects, or classes or functions that make them."),
    own("plugins", words, (), "Plugins for Temporal's client and worker, named as interceptors are."),
    own("payload_converter", text, None, "The payload converter for hand-written workflows and activities, by its dotted name: a class, or a DataConverter. Without a value: Temporal's own."),
    own("external_storage", text, None, "Where large payloads are kept, by its dotted name: an ExternalStorage of temporalio, or a function that makes it."),
    own("workflow_cache", count, 1000, "How many workflows a worker keeps in memory between their steps."),
    own("domains", words, (), "Packages of the application whose modules tasks, temporal_workflows and temporal_activities are imported, and whose workflows and activities workers serve."),
    own("max_concurrent_activities", count, 100, "How many hand-written activities a worker runs at a time, beside its tasks. The environment: TEMPORAL_MAX_CONCURRENT_ACTIVITIES."),
    own("max_concurrent_workflows", count, 100, "How many workflow tasks a worker takes at a time; at least 2. The environment: TEMPORAL_MAX_CONCURRENT_WORKFLOWS."),
    own("pollers", pollers, 5, "How many calls to the server wait for work, for each queue and each kind of work: a number, at least 2, or auto. auto: the server's feedback decides."),
    own("slots", choice("fixed", "resources"), "fixed", "What limits the work that a worker takes. fixed: the numbers above. resources: CPU and memory, for workflow tasks, and for activities on queues that carry no tasks."),
    own("slots_cpu", fraction, 0.8, "The share of the CPU that a worker with ptemporal.slots = resources aims at."),
    own("slots_memory", fraction, 0.8, "The share of the memory that a worker with ptemporal.slots = resources aims at."),
    own("deployment", text, None, "The name of the Worker Deployment that a worker belongs to. The environment: TEMPORAL_DEPLOYMENT_NAME."),
    own("build_id", text, None, "The version of the Worker Deployment: the build id of this release. The environment: TEMPORAL_WORKER_BUILD_ID."),
    own("versioning", choice("auto-upgrade", "pinned"), "auto-upgrade", "The versioning behaviour of workflows in a Worker Deployment that name none themselves. auto-upgrade: a workflow goes on with the current version. pinned: it ends with the version that it began with. Workflows of tasks always upgrade."),
    own("workflow_passthrough", words, (), "More modules that the workflow sandbox takes as they are, and does not import anew for each run."),
)
