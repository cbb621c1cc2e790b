"""Celery's `celery.contrib.pytest`: the plugin's fixtures that have names of Celery's."""

from pytest_ptemporal import (
    celery_app,
    celery_class_tasks,
    celery_config,
    celery_enable_logging,
    celery_includes,
    celery_parameters,
    celery_session_app,
    celery_session_worker,
    celery_worker,
    celery_worker_parameters,
    celery_worker_pool,
    depends_on_current_app,
    ptemporal_server,
    pytest_configure,
    use_celery_app_trap,
)

__all__ = [
    "celery_app",
    "celery_class_tasks",
    "celery_config",
    "celery_enable_logging",
    "celery_includes",
    "celery_parameters",
    "celery_session_app",
    "celery_session_worker",
    "celery_worker",
    "celery_worker_parameters",
    "celery_worker_pool",
    "depends_on_current_app",
    "ptemporal_server",
    "pytest_configure",
    "use_celery_app_trap",
]
