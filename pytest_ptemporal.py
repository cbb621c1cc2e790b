"""The pytest plugin: the fixtures of Celery's own plugin, on an embedded Temporal server, and a few more.

This module is outside the package for a reason. Pytest imports the plugin at every start in an environment that has
the package installed, also for projects that do not use it. Importing a module of the package would import the whole
package first. So the plugin imports only pytest, and each fixture imports what it needs from
`pyramid_temporal_compat.testing`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pyramid_temporal_compat import Celery
    from pyramid_temporal_compat.testing.calls import DispatchedCalls, EnlistedCalls
    from pyramid_temporal_compat.testing.celery_worker import TestWorkController

NO_WORKER = os.environ.get("NO_WORKER")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "celery(**settings): settings of the Celery app of this test")


# --- the server ----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def ptemporal_server() -> Iterator[Any]:
    """A Temporal server for the session, in memory and on free ports.

    Override this fixture to use a server that already runs: return any object with an `address`.
    """
    from pyramid_temporal_compat.server.embedded import EmbeddedServer

    with EmbeddedServer(headless=True) as server:
        yield server


# --- the task calls of a test --------------------------------------------------------------------------


@pytest.fixture
def ptemporal_enlisted() -> EnlistedCalls:
    """A function: `ptemporal_enlisted()` returns the calls that wait for the current transaction's commit, in order."""
    from pyramid_temporal_compat.testing.calls import EnlistedCalls

    return EnlistedCalls()


@pytest.fixture
def ptemporal_dispatched() -> Iterator[DispatchedCalls]:
    """A list of the calls that were dispatched. During the test, none of them reaches the server."""
    from pyramid_temporal_compat.testing.calls import recording

    with recording() as dispatched:
        yield dispatched


# --- Celery's fixtures, by its names -------------------------------------------------------------------


@pytest.fixture(scope="session")
def use_celery_app_trap() -> bool:
    """Whether code that asks for the current app gets an error. Override it."""
    return False


@pytest.fixture(scope="session")
def celery_enable_logging() -> bool:
    """Whether a worker sets up logging. Override it."""
    return False


@pytest.fixture(scope="session")
def celery_includes() -> Sequence[str]:
    """The modules that a worker imports. Override it."""
    return ()


@pytest.fixture(scope="session")
def celery_worker_pool() -> str:
    """The worker's pool. Override it."""
    return "solo"


@pytest.fixture(scope="session")
def celery_config() -> Mapping[str, Any]:
    """The settings of the test app. Override it."""
    return {}


@pytest.fixture(scope="session")
def celery_parameters() -> Mapping[str, Any]:
    """The arguments of the test app's `Celery(...)`. Override it."""
    return {}


@pytest.fixture(scope="session")
def celery_worker_parameters() -> Mapping[str, Any]:
    """The arguments of the worker. Override it."""
    return {}


@pytest.fixture(scope="session")
def celery_class_tasks() -> Sequence[Any]:
    """The class-based tasks of the session's app. Override it."""
    return []


@pytest.fixture
def celery_app(
    request: pytest.FixtureRequest,
    ptemporal_server: Any,
    celery_config: Mapping[str, Any],
    celery_parameters: Mapping[str, Any],
    celery_enable_logging: bool,
    use_celery_app_trap: bool,
) -> Iterator[Celery]:
    """An app for one test."""
    from pyramid_temporal_compat.testing.celery_app import test_app

    settings = {**celery_config, **_marked(request)}
    with test_app(
        ptemporal_server, settings, celery_parameters, logging=celery_enable_logging, trap=use_celery_app_trap
    ) as app:
        yield app


@pytest.fixture(scope="session")
def celery_session_app(
    request: pytest.FixtureRequest,
    ptemporal_server: Any,
    celery_config: Mapping[str, Any],
    celery_parameters: Mapping[str, Any],
    celery_enable_logging: bool,
    use_celery_app_trap: bool,
) -> Iterator[Celery]:
    """An app for the session. It is the current app, unless `use_celery_app_trap` is true."""
    from pyramid_temporal_compat.testing.celery_app import test_app

    settings = {**celery_config, **_marked(request)}
    with test_app(
        ptemporal_server, settings, celery_parameters, logging=celery_enable_logging, trap=use_celery_app_trap
    ) as app:
        if not use_celery_app_trap:
            app.set_default()
            app.set_current()
        yield app


@pytest.fixture
def celery_worker(
    celery_app: Celery,
    celery_includes: Sequence[str],
    celery_worker_pool: str,
    celery_worker_parameters: Mapping[str, Any],
) -> Iterator[TestWorkController | None]:
    """A worker for one test, on a thread of this process."""
    yield from _worker(celery_app, celery_includes, (), celery_worker_pool, celery_worker_parameters)


@pytest.fixture(scope="session")
def celery_session_worker(
    celery_session_app: Celery,
    celery_includes: Sequence[str],
    celery_class_tasks: Sequence[Any],
    celery_worker_pool: str,
    celery_worker_parameters: Mapping[str, Any],
) -> Iterator[TestWorkController | None]:
    """A worker for the session, on a thread of this process."""
    yield from _worker(
        celery_session_app, celery_includes, celery_class_tasks, celery_worker_pool, celery_worker_parameters
    )


@pytest.fixture
def depends_on_current_app(celery_app: Celery) -> None:
    """Make the test's app the current one."""
    celery_app.set_current()


def _marked(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    mark = request.node.get_closest_marker("celery")
    return mark.kwargs if mark else {}


def _worker(
    app: Celery, includes: Sequence[str], class_tasks: Sequence[Any], pool: str, parameters: Mapping[str, Any]
) -> Iterator[TestWorkController | None]:
    from pyramid_temporal_compat.testing.celery_worker import start_worker

    if NO_WORKER:
        yield None
        return
    for module in includes:
        app.loader.import_task_module(module)
    for task in class_tasks:
        app.register_task(task)
    with start_worker(app, pool=pool, **parameters) as worker:
        yield worker
