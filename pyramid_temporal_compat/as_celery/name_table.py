"""The table of Celery's public names and where each is in this package, for `install_as_celery()` and the codemod.

The table maps Celery's module to its names, and each name to `module:name`. A module that begins with a dot is
relative to this package.
"""

from __future__ import annotations

Names = dict[str, str]


def at(module: str, names: str) -> Names:
    """Return the entries of names in `module`. `theirs=ours` stands for a name that is different here."""
    pairs = (name.partition("=") for name in names.split())
    return {theirs: f"{module}:{ours or theirs}" for theirs, _, ours in pairs}


EXCEPTIONS = at(
    ".exceptions",
    """
    AlreadyRegistered AlwaysEagerIgnored BackendError BackendGetMetaError BackendStoreError CDeprecationWarning
    CPendingDeprecationWarning CeleryCommandException CeleryError CeleryWarning ChordError DuplicateNodenameWarning
    DuplicateTaskNameWarning FixupWarning Ignore ImproperlyConfigured IncompleteStream InvalidTaskError
    MaxRetriesExceededError NotConfigured NotRegistered OperationalError QueueNotFound Reject Retry SecurityError
    SecurityWarning SoftTimeLimitExceeded TaskError TaskPredicate TaskRevokedError Terminated TimeLimitExceeded
    TimeoutError WorkerLostError WorkerShutdown WorkerTerminate reraise
    """,
)
SIGNALS = at(
    ".signals",
    """
    after_setup_logger after_setup_task_logger after_task_publish beat_embedded_init beat_init before_task_publish
    celeryd_after_setup celeryd_init eventlet_pool_apply eventlet_pool_postshutdown eventlet_pool_preshutdown
    eventlet_pool_started heartbeat_sent import_modules setup_logging task_failure task_internal_error task_postrun
    task_prerun task_received task_rejected task_retry task_revoked task_sent task_success task_unknown
    user_preload_options worker_before_create_process worker_init worker_process_init worker_process_shutdown
    worker_ready worker_shutdown worker_shutting_down
    """,
)
STATES = at(
    ".states",
    """
    ALL_STATES EXCEPTION_STATES FAILURE IGNORED PENDING PROPAGATE_STATES READY_STATES RECEIVED REJECTED RETRY REVOKED
    STARTED SUCCESS UNREADY_STATES precedence state
    """,
)
RESULTS = {
    **at(".results.result", "AsyncResult ResultBase result_from_tuple"),
    **at(".results.eager_result", "EagerResult"),
    **at(".results.result_sets", "GroupResult ResultSet"),
}
WAITING = at(".results.join_guard", "allow_join_result assert_will_not_block denied_join_result")
LOGGERS = at(
    ".log",
    """
    ColorFormatter LOG_LEVELS LoggingProxy base_logger get_logger get_multiprocessing_logger get_task_logger
    in_sighandler mlevel reset_multiprocessing_logger set_in_sighandler task_logger worker_logger
    """,
)
FUNCTIONAL = at(
    ".celery_names.functional",
    """
    LRUCache chunks dictfilter first is_list lazy mattrgetter maybe_evaluate maybe_list memoize mlazy noop padlist uniq
    """,
)
IMPORTS = at(
    ".celery_names.importing",
    """
    NotAPackage cwd_in_path find_module gen_task_name import_from_cwd instantiate module_file qualname reload_from_cwd
    symbol_by_name
    """,
)
NODENAMES = at(
    ".celery_names.nodenames", "anon_nodename default_nodename gethostname host_format node_format nodename nodesplit"
) | at(".celery_names.kombu_queues", "worker_direct")
CANVAS = at(".canvas", "Signature chain chord chunks group maybe_signature signature subtask xmap xstarmap")
CURRENT = at(".as_celery.local_proxies", "current_app current_task")
UUID = at(".celery_names.ids", "uuid")
SERIALIZERS = at(
    ".celery_names.serialization",
    """
    SerializerRegistry disable_insecure_serializers dumps enable_insecure_serializers loads pickle
    prepare_accept_content register registry unregister
    """,
)
VERSION = at(".celery_names.version", "VERSION version_info version_info_t")

# billiard was made from the standard library's multiprocessing, and has the same names.
PROCESSES = at(
    "multiprocessing",
    """
    Array BoundedSemaphore Condition Event JoinableQueue Lock Manager Pipe Pool Process Queue RLock RawArray RawValue
    Semaphore SimpleQueue Value active_children allow_connection_pickling cpu_count current_process freeze_support
    get_all_start_methods get_context get_logger get_start_method log_to_stderr set_executable
    set_forkserver_preload set_start_method
    """,
)
PROCESS_ERRORS = {
    **at(".exceptions", "SoftTimeLimitExceeded Terminated TimeLimitExceeded WorkerLostError"),
    **at(".celery_names.kombu_errors", "CoroStop RestartFreqExceeded"),
    **at("multiprocessing", "AuthenticationError BufferTooShort ProcessError TimeoutError"),
}

MODULES: dict[str, Names] = {
    "celery.__main__": at(".cli", "main"),
    "celery.bin.celery": at(".cli", "main"),
    "billiard": PROCESSES | PROCESS_ERRORS | at(".celery_names.version", "VERSION=BILLIARD_VERSION"),
    "billiard.einfo": at(".celery_names.einfo", "ExceptionInfo") | at("multiprocessing.pool", "ExceptionWithTraceback"),
    "billiard.exceptions": PROCESS_ERRORS,
    "billiard.pool": at(".task.trace", "Worker=PoolProcess"),
    "billiard.process": at("multiprocessing", "Process active_children current_process"),
    "celery": {
        **at(".app", "Celery shared_task"),
        **at(".task.task", "Task"),
        **CANVAS,
        **CURRENT,
        **UUID,
        **VERSION,
        **at(".celery_names.version", "SERIES VERSION_BANNER"),
        **at(".as_celery.startup", "maybe_patch_concurrency"),
        **at(".as_celery.bugreport", "bugreport"),
    },
    "celery._state": {
        **CURRENT,
        **at(
            ".as_celery.local_proxies",
            """
            app_or_default get_current_app get_current_task get_current_worker_task pop_current_task push_current_task
            """,
        ),
        **at(".results.join_guard", "task_join_will_block"),
    },
    "celery.app": {
        **at(".app", "Celery shared_task"),
        **at(".as_celery.local_proxies", "app_or_default default_app pop_current_task push_current_task"),
        **at(".as_celery.bugreport", "bugreport"),
    },
    "celery.app.backends": at(".as_celery.startup", "BACKEND_ALIASES"),
    "celery.app.amqp": at(".task.routing", "AMQP=Amqp Queues"),
    "celery.app.base": at(".app", "Celery"),
    "celery.app.control": at(".control", "Control Inspect flatten_reply"),
    "celery.app.log": at(".log", "Logging TaskFormatter"),
    "celery.app.registry": at(".app", "TaskRegistry"),
    "celery.app.trace": {
        **at(".task.trace", "build_tracer task_has_custom trace_ok_t"),
        **at(".celery_names.einfo", "ExceptionInfo"),
        **at(".exceptions", "Ignore InvalidTaskError Reject Retry"),
        **at(
            ".worker.task_log",
            "LOG_FAILURE LOG_IGNORED LOG_RECEIVED LOG_REJECTED LOG_RETRY LOG_SUCCESS logger=ended_log",
        ),
    },
    "celery.app.task": at(".task.task", "Task") | at(".context", "Context"),
    "celery.app.utils": {
        **at(".settings", "Settings"),
        **at(".as_celery.bugreport", "bugreport"),
    },
    "celery.bin": at(".celery_names.user_options", "Option"),
    "celery.bin.base": at(".celery_names.user_options", "Option"),
    "celery.beat": {
        **at(".schedules.celery_schedules", "SchedulingError"),
        **at(".schedules.beat_scheduler", "PersistentScheduler ScheduleEntry Scheduler Service"),
    },
    "celery.canvas": {
        **CANVAS,
        **at(".canvas", "StampingVisitor _chain _chord maybe_subtask"),
        **at(".results.eager_result", "EagerResult"),
        **at(".results.join_guard", "allow_join_result"),
        **at(".results.result_sets", "GroupResult"),
    },
    "celery.contrib": {},
    "celery.contrib.abortable": at(".as_celery.abortable", "AbortableAsyncResult AbortableTask"),
    "celery.contrib.pytest": at(
        ".testing.celery_fixtures",
        """
        celery_app celery_class_tasks celery_config celery_enable_logging celery_includes celery_parameters
        celery_session_app celery_session_worker celery_worker celery_worker_parameters celery_worker_pool
        depends_on_current_app pytest_configure use_celery_app_trap
        """,
    ),
    "celery.contrib.testing.app": at(
        ".testing.celery_app", "DEFAULT_TEST_CONFIG TestApp Trap UnitLogging set_trap setup_default_app"
    ),
    "celery.contrib.testing.manager": at(".testing.manager", "Manager ManagerMixin Sentinel"),
    "celery.contrib.testing.mocks": at(".testing.celery_app", "ContextMock"),
    "celery.contrib.testing.tasks": at(".testing.celery_app", "ping"),
    "celery.contrib.testing.worker": {
        **at(".app", "Celery"),
        **at(".signals", "Signal"),
        **at(".results.join_guard", "allow_join_result"),
        **at(".celery_names.nodenames", "anon_nodename"),
        **at(
            ".testing.celery_worker",
            """
            TestWorkController WORKER_LOGLEVEL setup_app_for_worker start_worker test_worker_started
            test_worker_starting test_worker_stopped
            """,
        ),
    },
    "celery.exceptions": EXCEPTIONS,
    "celery.execute": at(".as_celery.startup", "send_task"),
    "celery.loaders.app": at(".app.loading", "AppLoader=Loader"),
    "celery.loaders.base": at(".app.loading", "BaseLoader=Loader"),
    "celery.local": at(".as_celery.local_proxies", "PromiseProxy Proxy maybe_evaluate try_import"),
    "celery.log": at(".as_celery.startup", "get_default_logger redirect_stdouts_to_logger setup_logging_subsystem"),
    "celery.messaging": {},
    "celery.registry": at(".as_celery.startup", "tasks"),
    "celery.result": RESULTS | WAITING,
    "celery.schedules": {
        **at(
            ".schedules.celery_schedules",
            "BaseSchedule ParseException crontab crontab_parser maybe_schedule schedstate schedule",
        ),
        **at(".schedules.solar_events", "solar"),
    },
    "celery.signals": SIGNALS,
    "celery.states": STATES,
    "celery.utils": {
        **at(".log", "LOG_LEVELS"),
        **at(".celery_names.functional", "cached_property chunks memoize noop"),
        **at(".celery_names.ids", "gen_unique_id=uuid uuid"),
        **at(
            ".celery_names.importing",
            "gen_task_name get_cls_by_name=symbol_by_name get_full_cls_name=qualname import_from_cwd instantiate",
        ),
        **at(".celery_names.nodenames", "nodename nodesplit"),
        **at(".celery_names.kombu_queues", "worker_direct"),
    },
    "celery.utils.abstract": at(".canvas.abstract", "CallableSignature CallableTask"),
    "celery.utils.dispatch": at(".signals", "Signal"),
    "celery.utils.dispatch.signal": at(".signals", "Signal"),
    "celery.utils.functional": FUNCTIONAL,
    "celery.utils.graph": at(".results.graph", "CycleError DependencyGraph GraphFormatter"),
    "celery.utils.imports": IMPORTS,
    "celery.utils.log": LOGGERS,
    "celery.utils.nodenames": NODENAMES,
    "celery.utils.serialization": at(".exceptions", "UnpickleableExceptionWrapper"),
    "celery.utils.text": at(".celery_names.functional", "indent pluralize truncate")
    | at(".celery_names.nodenames", "simple_format"),
    "celery.utils.time": at(
        ".schedules.timezones",
        """
        LocalTimezone add_seconds_to_datetime delta_resolution ffwd get_exponential_backoff_interval humanize_seconds
        is_naive localize make_aware maybe_iso8601 maybe_make_aware maybe_timedelta rate remaining subtract_datetimes
        timezone to_utc weekday yearmonth
        """,
    ),
    "celery.worker": {},
    "celery.worker.control": {
        **at(".control.command_registry", "Panel control_command inspect_command"),
        **at(
            ".control.worker_commands",
            """
            active active_queues add_consumer autoscale cancel_consumer clock conf hello memdump memsample ping
            pool_grow pool_shrink query_task rate_limit registered report reserved revoke revoke_by_stamped_headers
            revoked scheduled shutdown stats terminate time_limit
            """,
        ),
    },
    "celery.worker.strategy": at(".worker.task_log", "logger=received_log"),
    "kombu": {
        **at(".celery_names.kombu_queues", "Exchange Queue binding"),
        **at(".celery_names.serialization", "disable_insecure_serializers enable_insecure_serializers"),
        **at(".celery_names.urls", "parse_url"),
        **UUID,
        **VERSION,
    },
    "kombu.common": UUID,
    "kombu.compression": at(".payload.compression", "register"),
    "kombu.entity": at(
        ".celery_names.kombu_queues",
        "Exchange PERSISTENT_DELIVERY_MODE Queue TRANSIENT_DELIVERY_MODE binding maybe_delivery_mode",
    ),
    "kombu.exceptions": {
        **at(
            ".exceptions",
            """
            ContentDisallowed DecodeError EncodeError KombuError OperationalError SerializationError
            SerializerNotInstalled reraise
            """,
        ),
        **at(
            ".celery_names.kombu_errors",
            """
            BatchPublishError ChannelError ChannelLimitExceeded ConnectionError ConnectionLimitExceeded HttpError
            InconsistencyError LimitExceeded MessageStateError NotBoundError ResourceError VersionMismatch
            """,
        ),
        **at("socket", "TimeoutError=timeout"),
    },
    "kombu.log": at(".log", "LOG_LEVELS get_logger=plain_logger"),
    "kombu.messaging": at(".celery_names.producer", "Producer"),
    "kombu.serialization": SERIALIZERS,
    "kombu.utils.functional": FUNCTIONAL,
    "kombu.utils.imports": at(".celery_names.importing", "symbol_by_name"),
    "kombu.utils.json": at(
        ".celery_names.json_names", "EncodedT JSONEncoder T dumps loads object_hook register_type textual_types"
    ),
    "kombu.utils.objects": at(".celery_names.functional", "cached_property"),
    "kombu.utils.url": at(
        ".celery_names.urls", "as_url maybe_sanitize_url parse_url sanitize_url url_to_parts urlparts"
    ),
    "kombu.utils.uuid": UUID,
}

REPLACEABLE_MODULES = frozenset({"billiard.pool", "celery.app.trace", "celery.worker.strategy"})
"""Celery modules whose names tools replace. A name that is set on such a module is also set where we use it."""
