"""Our own settings, `ptemporal.*`."""

from __future__ import annotations

from .declare import Setting, own
from .values import address, boolean, choice, count, positive_seconds, seconds, text, whole, words

# One row a setting reads as a table; broken over lines it does not.
# fmt: off
# ruff: noqa: E501
OWN: tuple[Setting, ...] = (
    own("address", address, "localhost:7233", "The Temporal server, as host:port.", celery="broker_url"),
    own("namespace", text, "default", "The Temporal namespace that holds tasks and results."),
    own("api_key", text, None, "The API key sent with each call; it turns TLS on.", secret=True),
    own("tls", boolean, None, "Use TLS; without a value: where an API key or a tls_* file is set.", celery="broker_use_ssl"),
    own("tls_server_name", text, None, "The name that the server's certificate must carry, where it isn't the address."),
    own("tls_ca_file", text, None, "A PEM file with the certificates to trust, in place of the system's."),
    own("tls_cert_file", text, None, "A PEM file with the client certificate (mTLS)."),
    own("tls_key_file", text, None, "A PEM file with the client certificate's private key (mTLS)."),
    own("profile", text, None, "The profile to read from the Temporal configuration file."),
    own("config_file", text, None, "The Temporal configuration file (TOML), where it isn't in its usual place."),
    own("identity", text, None, "The name that this process shows to the server; without a value: process id and host."),
    own("connect_timeout", positive_seconds, 10.0, "How long a connection may take to be made.", celery="broker_connection_timeout"),
    own("include", words, (), "Modules to import so that their tasks are known.", celery="include"),
    own("app", text, None, "The Celery-shaped app whose tasks and settings to use, as package.module:name."),
    own("enlist", choice("auto", "required", "never"), "auto", "Whether a call joins the current transaction: where one has begun (auto), always or else an error (required), or not at all (never)."),
    own("outbox", text, None, "The SQLAlchemy session whose database keeps messages between commit and dispatch: a request attribute (dbsession), or a dotted name (myapp.models:DBSession); without a value: no outbox."),
    own("dispatch", choice("wait", "background"), "wait", "Whether the after-commit hook waits until the server has the messages."),
    own("dispatch_timeout", positive_seconds, 5.0, "How long the after-commit hook waits at most."),
    own("heartbeat_timeout", positive_seconds, 30.0, "How soon a killed worker is noticed, and its tasks run again elsewhere."),
    own("lost_worker_attempts", whole, 10, "How often a task may lose its worker, or kill its process, before it is given up with WorkerLostError; 0: as often as it happens."),
    own("receipts", boolean, False, "Whether a task's transaction also inserts a receipt, so that what it writes is written once, however often it runs; it takes ptemporal.outbox."),
    own("receipts_expire", positive_seconds, 3 * 86400.0, "How long receipts are kept, at least: those of workflows that are still open stay."),
    own("unknown_task", choice("wait", "fail"), "wait", "What becomes of a task that no worker knows: it waits for one that does, or ends with NotRegistered."),
    own("transaction_attempts", count, 3, "How often a task is tried, at most, when its transaction meets a transient database error."),
    own("graceful_timeout", seconds, None, "How long a stopping worker lets its running tasks finish; without a value: until they have.", celery="worker_soft_shutdown_timeout"),
    own("payload_limit", count, 2 * 1024 * 1024 - 4096, "The size in bytes that a task's arguments or result may have; the server's own limit, 2 MiB, is for them and what goes with them."),
    own("encryption_keys", words, (), "Keys that encrypt payloads: the first encrypts, all decrypt.", secret=True),
    own("encryption_required", boolean, False, "Refuse what came unencrypted: set it once all that was sent in the clear has ended."),
    own("bundle", whole, 8, "From how many tasks on those that a transaction sends to one queue leave as one workflow, in one start; 0: each always by itself."),
    own("canvas_batch", count, 250, "How many tasks of a group or a chain one workflow runs; a larger one is cut into workflows of that many."),
    own("canvas_at_once", count, 500, "How many tasks of one canvas may be under way at a time; the server takes 2,000."),
    own("workflow_cache", count, 1000, "How many workflows a worker keeps in memory between their steps."),
)
