"""The application on a database of its own, with the Temporal server of the pytest plugin."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from onboarding.activities import process_user, send_mail
from onboarding.models import Base, User
from onboarding.workflows import OnboardUser, OnboardUsers
from pyramid.paster import get_app
from webtest import TestApp

from pyramid_temporal_compat import ActivityContext

HOME = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


@pytest.fixture(scope="session")
def environment(ptemporal_server: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables that configure the application, its worker and its commands."""
    database = tmp_path_factory.mktemp("database") / "onboarding.db"
    return {
        "DATABASE_URL": f"sqlite:///{database}",
        "TEMPORAL_HOST": ptemporal_server.address,
        "TEMPORAL_TASK_QUEUE": "onboarding-tests",
    }


@pytest.fixture(scope="session")
def app(environment: dict[str, str]) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        app = get_app(str(HOME / "development.ini"))
        yield app
    app.registry["engine"].dispose()


@pytest.fixture(scope="session")
def ptemporal_registry(app: Any) -> Any:
    return app.registry


@pytest.fixture(autouse=True)
def empty_database(app: Any) -> None:
    with app.registry["engine"].begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())


@pytest.fixture
def web(app: Any) -> TestApp:
    return TestApp(app)


@pytest.fixture
def add_user(ptemporal_context: ActivityContext) -> Callable[[str], int]:
    """Adds a user in the transaction of `ptemporal_context`, and returns the id."""

    def add(email: str) -> int:
        user = User(email=email)
        ptemporal_context.request.dbsession.add(user)
        ptemporal_context.request.dbsession.flush()
        return user.id

    return add


@pytest.fixture
def worker(ptemporal_worker: Any) -> Any:
    return ptemporal_worker(activities=[process_user, send_mail], workflows=[OnboardUser, OnboardUsers])


@pytest.fixture
def worker_process(environment: dict[str, str]) -> Iterator[None]:
    """The worker as production runs it, configured by the environment alone."""
    variables = {**os.environ, **environment, "PYTHONPATH": str(HOME), "TEMPORAL_MAX_CONCURRENT_ACTIVITIES": "5"}
    command = [BIN / "ptemporal-compat", "worker", HOME / "development.ini", "-P", "threads", "-c", "2"]
    with subprocess.Popen(command, env=variables) as process:
        yield
        process.terminate()
