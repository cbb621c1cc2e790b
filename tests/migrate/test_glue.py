"""Glue: what goes, what stays, and what `rewrite` takes away."""

from __future__ import annotations

import pytest

from pyramid_temporal_compat.migrate.findings import SourceFile
from pyramid_temporal_compat.migrate.rewrite import rewrite_all
from pyramid_temporal_compat.migrate.rules import Fix

from .parts import after, codes, found, same, source

HOOKS = {
    "lambda ok: ok and remind.delay(user_id)": "remind.delay(user_id)",
    "lambda committed: remind.delay(user_id) if committed else None": "remind.delay(user_id)",
    "lambda ok, user_id=user_id: ok and remind.apply_async((user_id,), countdown=5)": (
        "remind.apply_async((user_id,), countdown=5)"
    ),
}


@pytest.mark.parametrize("hook", HOOKS)
def test_after_commit_hook_around_a_task_becomes_the_call(hook: str) -> None:
    text = "def view(request, user_id):\n    request.tm.get().addAfterCommitHook({})  # later\n"
    assert after(text.format(hook)) == f"def view(request, user_id):\n    {HOOKS[hook]}  # later\n"


def test_option_for_the_ini_file_goes_with_the_import_that_it_needed() -> None:
    text = (
        "from celery.bin import Option\nfrom shop.celery import app\n\napp.set_default()\n"
        'app.user_options["preload"].add(Option(["--ini"]))\n'
    )
    assert "PTC209" in codes(text)
    assert "user_options" in after(text)
    assert after(text, unsafe=True) == "from shop.celery import app\n\napp.set_default()\n"


def test_hook_whose_argument_is_read_later_is_an_unsafe_fix() -> None:
    text = "def view(request, item):\n    request.tm.get().addAfterCommitHook(lambda ok: ok and look.delay(item.id))\n"
    assert after(text) == text
    assert after(text, unsafe=True) == "def view(request, item):\n    look.delay(item.id)\n"


@pytest.mark.parametrize(
    "text",
    [
        """
        def view(request, item_id):
            def send(success, item_id):
                if success:
                    analyse.delay(item_id)

            request.tm.get().addAfterCommitHook(send, args=(item_id,))
        """,
        """
        @event.listens_for(Session, "after_commit")
        def send(session):
            analyse.delay(1)
        """,
        """
        def view(request):
            transaction.get().addAfterCommitHook(partial(analyse.delay, 1))
        """,
    ],
)
def test_other_shapes_of_hooks_are_found_and_left(text: str) -> None:
    assert codes(text) == ["PTC201"]
    assert after(text, unsafe=True) == same(text)


def test_hook_that_sends_no_task_is_no_finding() -> None:
    assert codes("request.tm.get().addAfterCommitHook(lambda ok: ok and delete(path))\n# celery\n") == []


GLUE = """
from celery import Celery, signals

celery = Celery("shop")


@signals.worker_init.connect
def boot(sender, **_):
    request = sender.app.webapp_bootstrap()
    sender.app.request = request


@signals.task_success.connect
def commit(sender, **_):
    \"\"\"Commit what the task wrote.\"\"\"
    sender.app.request.tm.commit()


@signals.task_failure.connect
def abort(sender, **_):
    log.debug("aborts")
    sender.app.request.tm.abort()


@signals.task_failure.connect
def report(sender, exception, **_):
    sentry.capture(exception)


@signals.task_postrun.connect
def count(sender, **_):
    statsd.incr(sender.name)
"""


def test_receivers_that_end_transactions_go_and_others_stay() -> None:
    by_line = {each.detail.split()[0]: each.rule.code for each in found(GLUE) if "(" in each.detail}
    assert by_line["commit"] == by_line["abort"] == "PTC203"
    assert by_line["boot"] == "PTC202"
    assert by_line["report"] == by_line["count"] == "PTC208"
    rewritten = after(GLUE, unsafe=True)
    assert "def commit" not in rewritten
    assert "def abort" not in rewritten
    assert "def report" in rewritten
    assert "def count" in rewritten
    # Other files use `celery.request`, so its maker stays until they do not.
    assert "def boot" in rewritten
    assert after(GLUE).count("def ") == GLUE.count("def ")


def test_signals_that_are_connected_by_a_call_are_found() -> None:
    text = (
        "from celery import signals\n\n\ndef commit(**_):\n    tm.commit()\n\n\nsignals.task_success.connect(commit)\n"
    )
    assert codes(text) == ["PTC203"]


BASE = """
import functools

from celery import Celery, Task
from pyramid.scripting import prepare


# Gives each task a request.
class PyramidTask(Task):
    abstract = True

    def __call__(self, *args, **kwargs):
        with prepare(registry=self.app.registry) as env:
            with env["request"].tm:
                return self.run(*args, **kwargs)


app = Celery("shop", task_cls=PyramidTask, include=["shop.tasks"])


@functools.lru_cache
def rate():
    return 1
"""


def test_base_class_that_is_only_glue_goes_with_its_name_and_its_imports() -> None:
    assert codes(BASE).count("PTC204") == 1
    assert after(BASE, unsafe=True) == same(
        """
        import functools

        from pyramid_temporal_compat import Celery


        app = Celery("shop", include=["shop.tasks"])


        @functools.lru_cache
        def rate():
            return 1
        """
    )
    assert "class PyramidTask" in after(BASE)


def test_base_class_that_does_more_is_left_to_a_person() -> None:
    text = BASE.replace(
        "    abstract = True\n", "    abstract = True\n\n    def on_failure(self, *args):\n        mark()\n"
    )
    findings = {each.rule.code: each for each in found(text)}
    assert findings["PTC204"].fix is Fix.NONE
    assert "PTC303" in findings
    assert "class PyramidTask" in after(text, unsafe=True)


def test_class_that_another_file_names_is_not_removed() -> None:
    base = source(BASE, path="shop/celery.py")
    user = source("from .celery import PyramidTask\n", path="shop/tasks.py")
    alone = rewrite_all([base], unsafe=True)
    beside: list[SourceFile] = [each.after for each in rewrite_all([base, user], unsafe=True)]
    assert "PyramidTask" not in alone[0].after.text
    assert any("class PyramidTask" in file.text for file in beside)


def test_requests_and_blocks_in_tasks_are_named() -> None:
    text = """
    @app.task
    def purge():
        with app.request_context() as request:
            with request.tm:
                request.find_service(name="purge").run()

    @celery.task
    def old():
        celery.request.db.query(Item)

    def helper():
        return 1
    """
    assert codes(text) == ["PTC205", "PTC206", "PTC205"]


def test_pyramid_celery_is_replaced() -> None:
    text = """
    from pyramid_celery import celery_app as app

    def main(global_config, **settings):
        config = Configurator(settings=settings)
        config.include("pyramid_celery")
        config.configure_celery(global_config["__file__"])
        return config.make_wsgi_app()
    """
    assert codes(text) == ["PTC207"] * 3
    assert after(text, unsafe=True) == same(
        """
        from pyramid_temporal_compat import current_app as app

        def main(global_config, **settings):
            config = Configurator(settings=settings)
            config.include("pyramid_temporal_compat")
            return config.make_wsgi_app()
        """
    )


def test_only_statement_of_a_block_becomes_pass() -> None:
    text = "def includeme(config):\n    config.configure_celery('x.ini')\n"
    assert after(text, unsafe=True) == "def includeme(config):\n    pass\n"
