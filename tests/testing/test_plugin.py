"""The plugin in separate projects: how pytest loads it, and which fixtures projects override."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = ("-p", "pytest_ptemporal")
"""By its module, which works where the package is not installed; where it is, its entry point stands aside."""

CONFTEST = """
import pytest

class Server:
    address = {address!r}

@pytest.fixture(scope="session")
def ptemporal_server():
    return Server
"""
TASKS = """
from pyramid_temporal_compat import Task, shared_task

@shared_task
def add(x, y):
    return x + y

class Doubles(Task):
    name = "doubles"

    def run(self, x):
        return 2 * x
"""


def run(pytester: pytest.Pytester, *arguments: str, passed: int) -> None:
    result = pytester.runpytest_subprocess(*arguments, "-p", "no:cacheprovider", timeout=60)
    result.assert_outcomes(passed=passed)


def test_a_run_that_uses_no_fixture_imports_none_of_the_package() -> None:
    code = "import sys, pytest_ptemporal; sys.exit('pyramid_temporal_compat' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_project_overrides_fixtures(pytester: pytest.Pytester, temporal_address: str) -> None:
    pytester.makepyfile(project_tasks=TASKS)
    overrides = """
@pytest.fixture(scope="session")
def celery_config():
    return {"task_default_queue": "overridden", "broker_url": "redis://"}

@pytest.fixture(scope="session")
def celery_parameters():
    return {"strict_typing": False}

@pytest.fixture(scope="session")
def celery_includes():
    return ["project_tasks"]

@pytest.fixture(scope="session")
def celery_class_tasks():
    from project_tasks import Doubles
    return [Doubles]

@pytest.fixture(scope="session")
def celery_worker_parameters():
    return {"queues": ("overridden", "more"), "concurrency": 2}

@pytest.fixture(scope="session")
def celery_worker_pool():
    return "threads"
"""
    pytester.makeconftest(CONFTEST.format(address=temporal_address) + overrides)
    pytester.makepyfile(
        """
        def test_session(celery_session_app, celery_session_worker):
            from project_tasks import add
            assert celery_session_worker.queues == ["overridden", "more"]
            assert celery_session_worker.pool_name == "threads"
            assert celery_session_worker.concurrency == 2
            assert celery_session_app.strict_typing is False
            assert add.delay(1, 2).get(timeout=20) == 3
            assert celery_session_app.tasks["doubles"].delay(4).get(timeout=20) == 8

        def test_the_same_worker(celery_session_worker):
            from project_tasks import add
            assert add.apply_async((1, 2), queue="more").get(timeout=20) == 3
        """
    )
    run(pytester, *LOADED, passed=2)


def test_the_trap_catches_code_that_asks_for_the_current_app(pytester: pytest.Pytester, temporal_address: str) -> None:
    trap = "\n@pytest.fixture(scope='session')\ndef use_celery_app_trap():\n    return True\n"
    pytester.makeconftest(CONFTEST.format(address=temporal_address) + trap)
    pytester.makepyfile(
        """
        import pytest
        from pyramid_temporal_compat import current_app, shared_task

        @shared_task
        def add(x, y):
            return x + y

        def test_trap(celery_app):
            with pytest.raises(RuntimeError, match="asked for the current app"):
                add.delay(1, 2)
            with pytest.raises(RuntimeError, match="asked for the current app"):
                current_app.conf
            assert celery_app.tasks[add.name].name == add.name
        """
    )
    run(pytester, *LOADED, passed=1)


def test_a_project_that_was_written_for_celery_loads_it_by_celerys_name(
    pytester: pytest.Pytester, temporal_address: str
) -> None:
    pytester.makeconftest(
        "from pyramid_temporal_compat import install_as_celery\ninstall_as_celery()\n"
        "pytest_plugins = ['celery.contrib.pytest']\n" + CONFTEST.format(address=temporal_address)
    )
    pytester.makepyfile(
        """
        import pytest
        from celery import shared_task
        from celery.contrib.testing.manager import Manager
        from celery.contrib.testing.worker import start_worker

        @shared_task
        def mul(x, y):
            return x * y

        @pytest.mark.celery(result_backend="redis://")
        def test_mul(celery_app, celery_worker):
            assert mul.delay(4, 4).get(timeout=10) == 16

        def test_manager(celery_app):
            manager = Manager(celery_app)
            with start_worker(celery_app, perform_ping_check=False):
                results = [mul.delay(number, 2) for number in range(3)]
                manager.join(celery_app.ResultSet(results), timeout=10)
                assert [result.get(timeout=10) for result in results] == [0, 2, 4]
                manager.assert_result_tasks_in_progress_or_completed(results)
                manager.wait_until_idle()
        """
    )
    run(pytester, "-p", "no:ptemporal", passed=2)
