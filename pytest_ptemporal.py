"""The pytest plugin: the fixtures of Celery's own plugin, on an embedded Temporal server, and a few more.

This module is outside the package for a reason. Pytest imports the plugin at every start in an environment that has
the package installed, also for projects that do not use it. Importing a module of the package would import the whole
package first. So the plugin imports only pytest, and each fixture imports what it needs from
`pyramid_temporal_compat.testing`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from temporalio.testing import WorkflowEnvironment

    from pyramid_temporal_compat import ActivityContext, Celery
    from pyramid_temporal_compat.testing.calls import DispatchedCalls, EnlistedCalls
    from pyramid_temporal_compat.testing.celery_worker import TestWorkController
    from pyramid_temporal_compat.testing.environments import LoopThread, RunningWorker, TimeSkippingEnvironment

NO_WORKER = os.environ.get("NO_WORKER")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "celery(**settings): settings of the Celery app of this test")


# --- the server ----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def ptemporal_server() -> Iterator[Any]:
    """A Temporal server for the session, in memory and on free ports.

    Override this fixture to use a server that already runs: return any object with an `address`.
    """
    from pyramid_temporal_compat.server.embedded import TIME_SKIPPING, EmbeddedServer

    with EmbeddedServer(headless=True, extra_args=TIME_SKIPPING) as server:
        yield server


# --- activities and workflows --------------------------------------------------------------------------


@pytest.fixture(scope="session")
def ptemporal_registry() -> Any:
    """The registry of the application, which contexts and workers get. Override it."""
    pytest.fail(
        "override the fixture ptemporal_registry: return the registry of your application, "
        'for example get_app("testing.ini").registry (pyramid.paster.get_app)'
    )


@pytest.fixture
def ptemporal_context(ptemporal_registry: Any) -> Iterator[ActivityContext]:
    """An `ActivityContext`, to call a context activity with. Its transaction is aborted at the end of the test."""
    from pyramid_temporal_compat.testing.environments import rolled_back_context

    with rolled_back_context(ptemporal_registry) as context:
        yield context


@pytest.fixture(scope="session")
def ptemporal_loop() -> Iterator[LoopThread]:
    """An event loop on a thread of its own, on which `ptemporal_worker` runs its workers."""
    from pyramid_temporal_compat.testing.environments import LoopThread

    loop = LoopThread()
    yield loop
    loop.stop()


@pytest.fixture(scope="session")
def ptemporal_env(ptemporal_server: Any, ptemporal_loop: LoopThread) -> WorkflowEnvironment:
    """Temporal's `WorkflowEnvironment`, on the server of the session."""
    from temporalio.testing import WorkflowEnvironment

    from pyramid_temporal_compat.testing.environments import connect

    return WorkflowEnvironment.from_client(ptemporal_loop.run(connect(ptemporal_server.address)))


@pytest.fixture
def ptemporal_time_skipping(ptemporal_env: WorkflowEnvironment) -> Iterator[TimeSkippingEnvironment]:
    """A `WorkflowEnvironment` whose workflows skip their timers.

    During the test, the tasks and workflows that this process starts skip `countdown`, `eta` and the pauses between
    retries, too.
    """
    from pyramid_temporal_compat.testing.environments import time_skipping

    with time_skipping(ptemporal_env.client) as environment:
        yield environment


@pytest.fixture
def ptemporal_worker(
    request: pytest.FixtureRequest, ptemporal_loop: LoopThread
) -> Iterator[Callable[..., RunningWorker]]:
    """A function: `ptemporal_worker(activities=[…], workflows=[…], tasks=True)` starts a worker for this test.

    It takes the options of `Worker`. The default `registry` is the value of `ptemporal_registry`. The
    default `task_queue` is a new queue. The worker stops at the end of the test.
    """
    from pyramid_temporal_compat.testing.environments import RunningWorker

    skips = "ptemporal_time_skipping" in request.fixturenames
    client = request.getfixturevalue("ptemporal_time_skipping" if skips else "ptemporal_env").client
    workers = []

    def start(**options: Any) -> RunningWorker:
        if "registry" not in options:
            options["registry"] = request.getfixturevalue("ptemporal_registry")
        workers.append(RunningWorker(ptemporal_loop, **{"client": client, **options}))
        return workers[-1]

    yield start
    for worker in workers:
        worker.stop()


@pytest.fixture
def ptemporal_replay(ptemporal_loop: LoopThread) -> Callable[..., None]:
    """A function: `ptemporal_replay(*files, workflows=[…])` fails if a recorded history does not replay."""
    from pyramid_temporal_compat.native.replay import replay

    def check(*files: str | os.PathLike[str], workflows: Sequence[type] = (), **options: Any) -> None:
        failures = ptemporal_loop.run(replay([Path(file) for file in files], workflows, **options))
        if failures:
            pytest.fail("\n".join(map(str, failures)), pytrace=False)

    return check


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
