"""Rewriting twice is rewriting once, and what comes out is Python: for files of others, and for random files."""

# Texts as files have them, one a line.
# ruff: noqa: E501
from __future__ import annotations

from pathlib import Path

import celery
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyramid_temporal_compat.migrate.findings import Kind, SourceFile
from pyramid_temporal_compat.migrate.rewrite import Choice, compiles, rewritten

CELERY = Path(celery.__file__).parent
CORPUS = ["app/log.py", "contrib/abortable.py", "contrib/pytest.py", "contrib/testing/worker.py"]
SNIPPETS = [
    "from celery import shared_task",
    "from celery import Celery, Task, signals as s  # names",
    "import celery.signals",
    "import celery, os",
    "import os; import celery as c; c.Task",
    "from celery.beat import BeatLazyFunc, SchedulingError",
    "if True: from celery import chain, states",
    "try:\n    from kombu import Queue\nexcept ImportError:\n    pass",
    "def view(request, item):\n    request.tm.get().addAfterCommitHook(lambda ok: ok and look.delay(item.id))",
    "@celery.signals.task_success.connect\ndef commit(**_):\n    tm.commit()",
    "@signals.worker_init.connect\ndef boot(**_):\n    app.ini = 'x'\n    get_app(app.ini)",
    "class Base(celery.Task):\n    def __call__(self, *args):\n        with prepare() as env:\n            return self.run(*args)",
    "app = celery.Celery('é', task_cls=Base)",
    "@app.task(base=Base, bind=True)\ndef add(self, a, b=1):\n    return celery.current_task",
    "celery = 1",
    "patch('celery.app.task.Task.retry')",
    "def includeme(config):\n    config.configure_celery('x')",
    "# a comment",
    "",
    "x = f'{celery.uuid()}'",
]


def check(file: SourceFile) -> None:
    for unsafe in (False, True):
        once = rewritten(file, Choice(unsafe)).after
        assert compiles(once.text)
        assert rewritten(once, Choice(unsafe)).after.text == once.text


@pytest.mark.parametrize("name", CORPUS)
def test_files_of_celery_itself(name: str) -> None:
    check(SourceFile(name, (CELERY / name).read_text(), Kind.PYTHON))


@given(st.lists(st.sampled_from(SNIPPETS), max_size=8), st.sampled_from(["\n", "\r\n"]))
@settings(max_examples=25, deadline=None)
def test_random_files(snippets: list[str], line_end: str) -> None:
    text = "".join(f"{snippet}\n" for snippet in snippets).replace("\n", line_end)
    if compiles(text):
        check(SourceFile("shop.py", text, Kind.PYTHON))


COMMANDS = [
    "worker: celery -A shop worker -l info",
    'CMD ["celery", "beat"]',
    "celery beat -S x",
    "python -m celery worker",
]
COMMANDS += [
    "# celery worker",
    "w: celery -A a worker --ini x.ini",
    "celery",
    "RUN pip install celery \\",
    "ENV CELERY_APP x",
]


@given(st.lists(st.sampled_from(COMMANDS), max_size=6))
@settings(max_examples=100, deadline=None)
def test_random_scripts(lines: list[str]) -> None:
    file = SourceFile("Procfile", "\n".join(lines), Kind.COMMANDS)
    for unsafe in (False, True):
        once = rewritten(file, Choice(unsafe)).after
        assert rewritten(once, Choice(unsafe)).after.text == once.text
