"""What the first reading of more public applications missed, or said wrongly. Each text is the smallest piece that shows it."""

# Texts as files have them, one a line.
# ruff: noqa: E501
from __future__ import annotations

from pathlib import Path

import pytest

from pyramid_temporal_compat.migrate.findings import Kind, is_test
from pyramid_temporal_compat.migrate.rules import Fix, Severity
from pyramid_temporal_compat.migrate.source_files import kind_of

from .parts import after, codes, found, same

PYTHON = {
    # The application's own function of this name is no directive of pyramid_celery.
    """
    from shop.setup import configure_celery

    configure_celery(app)
    """: [],
    """
    import pyramid_celery

    pyramid_celery.loaders.INILoader.read_configuration = read
    registry = app.conf.get("PYRAMID_REGISTRY", {})
    """: ["PTC207", "PTC207"],
    # A key of the registry is no module of Celery.
    """
    config.registry["celery.app"] = make()
    config.registry["celery.app"].conf.update(accept_content=["json", "pickle"], REDBEAT_REDIS_URL=url)
    """: ["PTC402", "PTC503", "PTC808"],
    """
    import sys

    sys.modules["celery.backends.redis"] = fake
    """: ["PTC105"],
    """
    broker_url = "redis://localhost"
    task_default_queue = "shop"
    task_serializer = "json"
    if testing:
        task_always_eager = True
    """: ["PTC403", "PTC409"],
    """
    from sentry_sdk.integrations.celery import CeleryIntegration
    """: ["PTC107"],
    # The package imports Sentry's integration with Celery if the application sets this.
    """
    if celery_worker:
        config.add_settings({"h_pyramid_sentry.celery_support": True})
    """: ["PTC107"],
    """
    def test_beat(celery):
        return celery.Beat().Service(app=celery)
    """: ["PTC102"],
    """
    import opentelemetry.instrumentation.celery
    """: ["PTC107"],
    """
    import sys

    def is_worker():
        return sys.argv[0].rsplit("/", 1)[-1] == "celery" or sys.argv[0].endswith("celery")
    """: ["PTC607", "PTC607"],
    """
    def view(request):
        result = convert.delay(1)
        result.wait(timeout=5)
        return total.delay(2).get()
    """: ["PTC809", "PTC809"],
    """
    def tiles(pool):
        job = pool.apply_async(draw, task_id="same", countdown=2)
        job.get()
    """: [],
}


@pytest.mark.parametrize("text", PYTHON)
def test_python_of_more_applications(text: str) -> None:
    assert sorted(codes(text)) == PYTHON[text]


OPTIONAL = """
import celery

if celery.version_info < (4, 3):
    from celery.app.routes import re
try:
    from celery.bootsteps import StartStopStep
except ImportError:
    StartStopStep = None
if TYPE_CHECKING:
    from celery.worker.request import Request
"""


def test_a_name_that_the_program_goes_on_without_does_not_block() -> None:
    refused = [each for each in found(OPTIONAL) if each.rule.code in ("PTC102", "PTC103")]
    assert [each.severity for each in refused] == [Severity.NOTHING] * 3
    assert [
        each.severity for each in found("if celery.VERSION > (4, 3):\n    from celery.bootsteps import StartStopStep\n")
    ] == [Severity.BLOCKS]


TASKS_WITH_A_REQUEST_FIRST = """
from celery import Task

class RequestTask(Task):
    def __call__(self, *args, **kwargs):
        return super().__call__(*(self.make(), *args), **kwargs)

    def make(self):
        return pyramid.scripting.prepare()["request"]


@app.task(base=RequestTask)
def send(request, to): ...
"""


def test_a_class_whose_functions_take_the_request_first_is_not_removed() -> None:
    (glue,) = (each for each in found(TASKS_WITH_A_REQUEST_FIRST) if each.rule.code == "PTC204")
    assert "first argument" in glue.message
    assert "RequestTask.__call__" in glue.detail
    assert glue.fix is Fix.NONE
    assert "class RequestTask(Task)" in after(TASKS_WITH_A_REQUEST_FIRST, unsafe=True)


def test_an_application_of_a_test_needs_no_work() -> None:
    text = "from celery import Celery\n\ndef test_it():\n    app = Celery()\n"
    (app,) = (each for each in found(text, path="tests/test_it.py") if each.rule.code == "PTC402")
    assert app.severity is Severity.NOTHING


@pytest.mark.parametrize(
    "path", ["tests/x.py", "shop/tests.py", "shop/conftest.py", "shop/test_x.py", "shop/x_test.py"]
)
def test_tests_are_told_by_their_path(path: str) -> None:
    assert is_test(path)
    assert not is_test("shop/latest.py")


COMMANDS = {
    "celery-3 -A shop worker\n": ["PTC601"],
    "w: celery -A shop worker --beat --scheduler redbeat.RedBeatScheduler\n": ["PTC503", "PTC601", "PTC602"],
    "RUN pip install \\\n    gunicorn \\\n    'celery[redis]==5.3'\n": ["PTC701"],
    "RUN dnf install -y python3-celery python3-kombu\n": ["PTC701", "PTC701"],
    "# pip install celery\n": [],
}


@pytest.mark.parametrize("text", COMMANDS)
def test_commands_of_more_applications(text: str) -> None:
    assert sorted(codes(text, Kind.COMMANDS, "Dockerfile")) == COMMANDS[text]


def test_a_program_that_runs_a_module_gets_ours() -> None:
    text = "command: hupper --reload-interval 10 -m celery -A shop worker\n"
    assert after(text, Kind.COMMANDS, "compose.yml") == text.replace("-m celery", "-m pyramid_temporal_compat.cli")


@pytest.mark.parametrize(
    "name", ["docker-compose.override.yaml-sample", "compose.yml.example", ".env", "crontab", "a.cron"]
)
def test_samples_and_crontabs_are_read(name: str) -> None:
    assert kind_of(Path(name)) is Kind.COMMANDS


def test_the_same_pin_in_two_files_is_one_thing() -> None:
    details = {found(f"{name}==1.3.24\n", Kind.REQUIREMENTS)[0].detail for name in ("SQLAlchemy", "sqlalchemy")}
    assert len(details) == 1


def test_an_extra_of_celery_is_named() -> None:
    (requirement,) = found("celery[redis]>=5\n", Kind.REQUIREMENTS)
    assert "redis" in requirement.message.partition(":")[2]


@pytest.mark.parametrize(
    ("text", "kind", "path"),
    [
        ("from celery.bootsteps import StartStopStep  # ptc: ignore[PTC102]\n", Kind.PYTHON, "a.py"),
        ("celery.task_defalut_queue = items  ; ptc: ignore[PTC405]\n", Kind.INI, "a.ini"),
        ("command: celery -A shop worker  # ptc: ignore[PTC601]\n", Kind.COMMANDS, "compose.yml"),
        ("worker: celery -A shop worker  # ptc: ignore\n", Kind.COMMANDS, "Procfile"),
    ],
)
def test_a_comment_silences_in_each_kind_of_file(text: str, kind: Kind, path: str) -> None:
    head = "[app:main]\n" if kind is Kind.INI else ""
    assert codes(head + text, kind, path) == []
    assert codes(head + text.replace("ptc:", "pct:"), kind, path) != []


def test_rewriting_leaves_a_function_of_the_same_name() -> None:
    text = same("""
        from shop.setup import configure_celery

        configure_celery(app)
        """)
    assert after(text, unsafe=True) == text
