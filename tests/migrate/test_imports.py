"""Imports of celery, kombu and billiard: what the audit says of them, and what `rewrite` makes of them."""

# Texts as files have them, one a line.
# ruff: noqa: E501
from __future__ import annotations

import importlib

import pytest

from pyramid_temporal_compat import unsupported
from pyramid_temporal_compat.as_celery.name_table import MODULES
from pyramid_temporal_compat.migrate.audit import audit
from pyramid_temporal_compat.migrate.homes import home, module_home
from pyramid_temporal_compat.migrate.rewrite import rewrite_all
from pyramid_temporal_compat.migrate.rules import Fix

from .parts import after, codes, found, same, source

SWAPS = {
    "from celery import shared_task\n": "from pyramid_temporal_compat import shared_task\n",
    "from celery import Celery, signals\n": "from pyramid_temporal_compat import Celery, signals\n",
    "from celery import shared_task as task  # ours\n": "from pyramid_temporal_compat import shared_task as task  # ours\n",
    "from celery.result import AsyncResult\n": "from pyramid_temporal_compat import AsyncResult\n",
    "from celery.utils.log import get_task_logger\n": "from pyramid_temporal_compat.log import get_task_logger\n",
    "from celery.result import AsyncResult, GroupResult\n": (
        "from pyramid_temporal_compat import AsyncResult\n"
        "from pyramid_temporal_compat.results.result_sets import GroupResult\n"
    ),
    "from celery.exceptions import (\n    Ignore,  # nothing to keep\n    Retry,\n)\n": (
        "from pyramid_temporal_compat.exceptions import (\n    Ignore,  # nothing to keep\n    Retry,\n)\n"
    ),
    "from celery.utils import gen_unique_id\n": (
        "from pyramid_temporal_compat.celery_names.ids import uuid as gen_unique_id\n"
    ),
    "from kombu import Exchange, Queue\n": "from pyramid_temporal_compat.celery_names.kombu_queues import Exchange, Queue\n",
    "from billiard.exceptions import SoftTimeLimitExceeded\n": (
        "from pyramid_temporal_compat.exceptions import SoftTimeLimitExceeded\n"
    ),
    "import celery\n\n\nclass Base(celery.Task):\n    pass\n": (
        "import pyramid_temporal_compat\n\n\nclass Base(pyramid_temporal_compat.Task):\n    pass\n"
    ),
    "import celery as c\n\napp = c.Celery('x')\n": "import pyramid_temporal_compat as c\n\napp = c.Celery('x')\n",
    "import celery.signals\n\n\n@celery.signals.task_prerun.connect\ndef note(**_): ...\n": (
        "import pyramid_temporal_compat.signals\n\n\n"
        "@pyramid_temporal_compat.signals.task_prerun.connect\ndef note(**_): ...\n"
    ),
    "import celery\nimport celery.exceptions\n\ncelery.Task\ncelery.exceptions.Retry\n": (
        "import pyramid_temporal_compat\nimport pyramid_temporal_compat.exceptions\n\n"
        "pyramid_temporal_compat.Task\npyramid_temporal_compat.exceptions.Retry\n"
    ),
    "from celery import result\n\nresult.AsyncResult('x')\nresult.GroupResult('y')\n": (
        "import pyramid_temporal_compat\nimport pyramid_temporal_compat.results.result_sets\n\n"
        "pyramid_temporal_compat.AsyncResult('x')\npyramid_temporal_compat.results.result_sets.GroupResult('y')\n"
    ),
    "def send():\n    from celery import chain, states\n\n    return chain, states\n": (
        "def send():\n    from pyramid_temporal_compat import chain, states\n\n    return chain, states\n"
    ),
    "try:\n    from celery.exceptions import Retry\nexcept ImportError:\n    Retry = None\n": (
        "try:\n    from pyramid_temporal_compat.exceptions import Retry\nexcept ImportError:\n    Retry = None\n"
    ),
    "from celery import shared_task; from celery.schedules import crontab\n": (
        "from pyramid_temporal_compat import shared_task; "
        "from pyramid_temporal_compat.schedules.celery_schedules import crontab\n"
    ),
    "from celery import shared_task\r\n\r\nx = 'é'\r\n": "from pyramid_temporal_compat import shared_task\r\n\r\nx = 'é'\r\n",
    "x = 'é'; import celery; celery.uuid()\n": "x = 'é'; import pyramid_temporal_compat; pyramid_temporal_compat.uuid()\n",
}


@pytest.mark.parametrize("before", SWAPS)
def test_import_is_swapped_and_the_rest_of_the_file_stays(before: str) -> None:
    assert after(before) == SWAPS[before]


def test_every_home_of_a_name_can_be_imported() -> None:
    for module in ("celery", "celery.exceptions", "celery.signals", "celery.result", "celery.schedules", "kombu"):
        for name in MODULES[module]:
            place = home(module, name)
            assert place is not None
            assert hasattr(importlib.import_module(place.module), place.name), place
    assert module_home("celery.signals") == "pyramid_temporal_compat.signals"
    assert module_home("celery.result") is None


def test_refused_name_blocks_with_the_reason_of_the_table() -> None:
    [finding] = found("from celery.bootsteps import StartStopStep\n")
    assert finding.rule.code == "PTC102"
    assert finding.message == f"celery.bootsteps.StartStopStep: {unsupported()['celery.bootsteps.*']}"
    assert finding.fix is Fix.NONE


@pytest.mark.parametrize(
    "text",
    [
        "from celery.backends.redis import RedisBackend\n",
        "import celery.beat\n\n\ncelery.beat.BeatLazyFunc(now)\n",
        "from celery.worker.request import Request\n",
        "import celery\n\ncelery.app.routes.re\n",
    ],
)
def test_use_of_a_refused_name_is_found_in_every_shape(text: str) -> None:
    assert "PTC102" in codes(text)


def test_internal_name_that_is_nowhere_blocks() -> None:
    assert codes("from celery.app.task import extract_exec_options\n") == ["PTC103"]


def test_import_of_a_refused_name_beside_others_keeps_only_that_name() -> None:
    assert after("from celery.beat import BeatLazyFunc, SchedulingError\n") == (
        "from pyramid_temporal_compat.schedules.celery_schedules import SchedulingError\n"
        "from celery.beat import BeatLazyFunc\n"
    )


def test_file_with_messages_of_its_own_keeps_the_real_kombu() -> None:
    text = same(
        """
        from kombu import Connection, Exchange, Queue
        from kombu.mixins import ConsumerMixin
        from kombu.pools import producers
        """
    )
    assert set(codes(text)) == {"PTC104"}
    assert after(text) == text
    assert codes("import kombu\n\nwith kombu.Connection('amqp://') as c: ...\n") == ["PTC104"]


def test_file_that_calls_another_applications_celery_keeps_the_real_celery() -> None:
    text = same(
        """
        from celery import Celery
        from kombu import Connection

        def publish(url, event):
            with Connection(url) as connection:
                Celery("theirs").send_task("theirs.tasks.note", kwargs=event, connection=connection)
        """
    )
    assert "PTC411" in codes(text)
    assert after(text, unsafe=True) == text


@pytest.mark.parametrize(
    ("text", "there"),
    [
        (
            'mock.patch("celery.app.task.Task.retry")\n',
            'mock.patch("pyramid_temporal_compat.Task.retry")\n',
        ),
        ("import_module('celery.signals')\n", "import_module('pyramid_temporal_compat.signals')\n"),
    ],
)
def test_dotted_name_in_a_text_is_replaced_by_an_unsafe_fix(text: str, there: str) -> None:
    assert codes(text) == ["PTC105"]
    assert after(text) == text
    assert after(text, unsafe=True) == there


def test_names_of_loggers_are_no_names_of_modules() -> None:
    assert codes('logging.getLogger("celery.worker").setLevel("INFO")\n') == []


@pytest.mark.parametrize("name", ["redbeat", "celery_batches", "celery_once"])
def test_extension_of_celery_blocks(name: str) -> None:
    assert codes(f"from {name} import anything\n") == ["PTC106"]


def test_name_of_the_applications_own_is_left_alone() -> None:
    text = "from .celery import celery\n\n\n@celery.task\ndef add(a, b):\n    return a + b\n"
    assert after(text, unsafe=True) == text


def test_comment_silences_one_code_or_all() -> None:
    assert codes("from celery.beat import BeatLazyFunc  # ptc: ignore[PTC102]\n") == []
    assert codes("from celery.beat import BeatLazyFunc  # ptc: ignore\n") == []
    assert codes("from celery.beat import BeatLazyFunc  # ptc: ignore[PTC101]\n") == ["PTC102"]
    silenced = "from celery import shared_task  # ptc: ignore[PTC101]\n"
    assert after(silenced) == silenced


def test_helper_that_shares_its_name_with_a_public_class_keeps_its_own_home() -> None:
    assert (
        after("from celery.utils import chunks\n")
        == "from pyramid_temporal_compat.celery_names.functional import chunks\n"
    )
    assert after("from celery import chunks\n") == "from pyramid_temporal_compat import chunks\n"


def test_other_uses_of_kombu_beside_own_messages_are_for_a_person() -> None:
    own = source("from kombu.mixins import ConsumerMixin\n", path="shop/stream.py")
    other = source("from kombu.exceptions import OperationalError\n", path="shop/views.py")
    assert rewrite_all([own, other], unsafe=False) == []
    assert [each.after.path for each in rewrite_all([own, other], unsafe=True)] == ["shop/views.py"]
    [finding] = [each for each in audit([own, other]).findings if each.rule.code == "PTC101"]
    assert finding.fix is Fix.UNSAFE
