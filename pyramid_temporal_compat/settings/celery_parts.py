"""Celery's settings of brokers, events and result stores. Temporal replaces all of these."""

from __future__ import annotations

from typing import Any

from .declare import Setting, acts, equivalent, refused
from .values import anything, boolean, integer, mapping, number, seconds, text, words

BROKER = "Temporal is the broker: set ptemporal.address (and ptemporal.namespace, ptemporal.api_key, ptemporal.tls)."
RECONNECTS = "The Temporal client connects at its first use and reconnects by itself. ptemporal.connect_timeout limits one attempt."
ONE_CONNECTION = "A process has one connection, which carries all its calls at once, so there is no pool to limit."
CONTROL = "Control and inspect calls go through Temporal, which needs no extra queues for them."
EVENTS = "No event messages are sent. The server keeps every task's events: see its web UI."

STORE = "Temporal keeps the results, in each task's workflow, so no result store is used: set ptemporal.address."

# One row a setting reads as a table; broken over lines it does not.
# fmt: off
# ruff: noqa: E501
BROKERS: tuple[Setting, ...] = (
    refused("broker_url", text, None, "Where Celery's broker is.", BROKER + " A broker_url of the form host:port or temporal://host:port is used as that address."),
    refused("broker_read_url", text, None, "The broker to consume from.", BROKER),
    refused("broker_write_url", text, None, "The broker to publish to.", BROKER),
    refused("broker_host", text, None, "The broker's host.", BROKER),
    refused("broker_port", integer, None, "The broker's port.", BROKER),
    refused("broker_user", text, None, "The broker's user.", BROKER),
    refused("broker_password", text, None, "The broker's password.", BROKER, secret=True),
    refused("broker_vhost", text, None, "The broker's virtual host.", BROKER),
    refused("broker_login_method", text, None, "How to log in to the broker.", BROKER),
    refused("broker_transport", text, None, "The broker's transport.", BROKER),
    refused("broker_transport_options", mapping, {}, "The transport's options.", BROKER + " Use ptemporal.heartbeat_timeout instead of visibility_timeout. migrate bridge reads this setting for Celery's broker."),
    refused("broker_failover_strategy", text, None, "How to choose among brokers.", BROKER),
    refused("broker_native_delayed_delivery_queue_type", text, "quorum", "The queues for delayed messages.", "The server holds delayed tasks, so they need no queues."),
    refused("broker_use_ssl", anything, False, "Use TLS to the broker.", "Set ptemporal.tls and ptemporal.tls_ca_file, tls_cert_file and tls_key_file. migrate bridge reads this setting for Celery's broker."),
    equivalent("broker_connection_timeout", seconds, 4, "How long a connection may take.", RECONNECTS),
    equivalent("broker_connection_retry", boolean, True, "Reconnect when the connection is lost.", "A lost connection is always made again. At a worker's start, this value counts if broker_connection_retry_on_startup has none."),
    acts("broker_connection_retry_on_startup", boolean, None, "Whether a worker that starts while the server is unreachable tries again. Without a value: broker_connection_retry."),
    acts("broker_connection_max_retries", integer, 100, "How often a starting worker tries to connect again, 2 to 30 seconds apart. 0 means without limit."),
    equivalent("broker_channel_error_retry", boolean, False, "Reconnect on a channel's error.", RECONNECTS),
    equivalent("broker_heartbeat", integer, 120, "How often the connection is probed.", RECONNECTS),
    equivalent("broker_heartbeat_checkrate", number, 3.0, "How often the probes are checked.", RECONNECTS),
    equivalent("broker_pool_limit", integer, 10, "The size of the connection pool.", ONE_CONNECTION),
    equivalent("broker_pool_acquire_timeout", seconds, None, "How long to wait for a connection of the pool.", ONE_CONNECTION),
    refused("control_exchange", text, "celery", "The exchange of control calls.", CONTROL),
    refused("control_queue_durable", boolean, False, "Whether these queues are durable.", CONTROL),
    refused("control_queue_exclusive", boolean, True, "Whether these queues are exclusive.", CONTROL),
    refused("control_queue_expires", seconds, 10.0, "When these queues are deleted.", CONTROL),
    refused("control_queue_ttl", seconds, 300.0, "When the messages in these queues expire.", CONTROL),
    refused("event_exchange", text, "celeryev", "The exchange of events.", EVENTS),
    refused("event_queue_durable", boolean, False, "Whether these queues are durable.", EVENTS),
    refused("event_queue_exclusive", boolean, True, "Whether these queues are exclusive.", EVENTS),
    refused("event_queue_expires", seconds, 60.0, "When these queues are deleted.", EVENTS),
    refused("event_queue_prefix", text, "celeryev", "The prefix of the queues' names.", EVENTS),
    refused("event_queue_ttl", seconds, 5.0, "When the messages expire.", EVENTS),
    refused("event_serializer", text, "json", "How events are serialised.", EVENTS),
)

# fmt: on


def _store(title: str, prefix: str, *rows: tuple[Any, ...]) -> tuple[Setting, ...]:
    """Declare the settings of one result store. They differ in name and default; one reason holds for all."""
    return tuple(
        refused(
            f"{prefix}_{name}",
            kind,
            default,
            f"{title}: {name.replace('_', ' ')}.",
            STORE,
            *old,
            secret="password" in name,
        )
        for name, kind, default, *old in rows
    )


STORES: tuple[Setting, ...] = (
    *_store("ArangoDB", "arangodb", ("backend_settings", mapping, None)),
    *_store(
        "Azure Block Blob",
        "azureblockblob",
        ("base_path", text, ""),
        ("connection_timeout", integer, 20),
        ("container_name", text, "celery"),
        ("read_timeout", integer, 120),
        ("retry_increment_base", integer, 2),
        ("retry_initial_backoff_sec", integer, 2),
        ("retry_max_attempts", integer, 3),
    ),
    *_store("The cache", "cache", ("backend", text, None), ("backend_options", mapping, {})),
    *_store(
        "Cassandra",
        "cassandra",
        ("auth_kwargs", anything, None),
        ("auth_provider", text, None),
        ("bundle_path", text, None),
        ("entry_ttl", number, None),
        ("keyspace", text, None),
        ("options", mapping, {}),
        ("port", text, None),
        ("read_consistency", text, None),
        ("secure_bundle_path", text, None),
        ("servers", words, None),
        ("table", text, None, "CASSANDRA_TABLE", "CASSANDRA_COLUMN_FAMILY"),
        ("write_consistency", text, None),
    ),
    *_store(
        "Cosmos DB",
        "cosmosdbsql",
        ("collection_name", text, "celerycol"),
        ("consistency_level", text, "Session"),
        ("database_name", text, "celerydb"),
        ("max_retry_attempts", integer, 9),
        ("max_retry_wait_time", integer, 30),
    ),
    *_store("Couchbase", "couchbase", ("backend_settings", mapping, None)),
    *_store(
        "SQLAlchemy",
        "database",
        ("create_tables_at_setup", boolean, True),
        ("engine_callback", anything, None),
        ("engine_options", mapping, {"pool_pre_ping": True, "pool_recycle": 3600}, "CELERY_RESULT_ENGINE_OPTIONS"),
        ("short_lived_sessions", boolean, False, "CELERY_RESULT_DB_SHORT_LIVED_SESSIONS"),
        ("table_names", mapping, None, "CELERY_RESULT_DB_TABLENAMES", "CELERY_RESULT_DB_TABLE_NAMES"),
        ("table_schemas", mapping, None),
        ("url", text, None, "CELERY_RESULT_DBURI"),
    ),
    *_store(
        "Elasticsearch",
        "elasticsearch",
        ("max_retries", integer, None),
        ("retry_on_timeout", boolean, None),
        ("save_meta_as_text", boolean, True),
        ("timeout", number, None),
    ),
    *_store(
        "Google Cloud Storage",
        "gcs",
        ("base_path", text, ""),
        ("bucket", text, None),
        ("project", text, None),
        ("ttl", number, 0),
    ),
    *_store("MongoDB", "mongodb", ("backend_settings", mapping, None)),
    *_store(
        "Redis",
        "redis",
        ("backend_credential_provider", anything, None),
        ("backend_health_check_interval", integer, None),
        ("backend_use_ssl", mapping, None),
        ("client_name", text, None),
        ("db", integer, None),
        ("host", text, None),
        ("max_connections", integer, None),
        ("password", text, None),
        ("port", integer, None),
        ("retry_on_timeout", boolean, False),
        ("socket_connect_timeout", number, None),
        ("socket_keepalive", boolean, False),
        ("socket_timeout", number, 120.0),
        ("username", text, None),
    ),
    *_store(
        "S3",
        "s3",
        ("access_key_id", text, None),
        ("base_path", text, None),
        ("bucket", text, None),
        ("endpoint_url", text, None),
        ("region", text, None),
        ("secret_access_key", text, None),
    ),
)
