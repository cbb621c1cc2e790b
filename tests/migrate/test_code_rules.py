"""Task classes, apps, settings, periodic tasks and calls in Python: code as applications have it."""

from __future__ import annotations

import pytest

from pyramid_temporal_compat.migrate.audit import audit
from pyramid_temporal_compat.migrate.rules import Severity
from pyramid_temporal_compat.settings.table import SETTINGS

from .parts import codes, found, source

TASK_CLASSES = {
    """
    import celery

    class Metered(celery.Task):
        def __new__(cls, *args, **kwargs): ...
        def __call__(self, *args, **kwargs): ...
    """: ["PTC301", "PTC301"],
    """
    from celery.app.task import Task

    class Traced(Task):
        def apply_async(self, *args, **options): ...
        def after_return(self, *args): ...
        def run(self): ...

    class More(Traced):
        def on_failure(self, *args): ...
    """: ["PTC302", "PTC303", "PTC303"],
    """
    from celery import Celery

    class App(Celery):
        def send_task(self, *args, **kwargs): ...
    """: ["PTC302"],
    """
    from celery import Task

    class Limited(Task):
        Request = MyRequest
    """: ["PTC304"],
    """
    class Report:
        QUERY = "select status from celery_taskmeta join orders using (task_id)"
    """: ["PTC305"],
    """
    from celery.app import backends

    backends.BACKEND_ALIASES["ours"] = "shop.backends:Backend"
    """: ["PTC305"],
    """
    @app.task(bind=True)
    def mark(self):
        self.backend.store_result(self.request.id, 1, "SUCCESS")
        app.backend.client.delete("x")
    """: ["PTC305", "PTC305"],
    """
    class Form:
        def __call__(self): ...
        def apply_async(self): ...  # not celery
    """: [],
}
SETTINGS_IN_CODE = {
    """
    from celery import Celery

    app = Celery("shop")
    app.conf.update(task_acks_late=False, task_serializer="pickle", worker_prefetch_multiplier=1)
    """: ["PTC401", "PTC409", "PTC808", "PTC404"],
    """
    app.conf.task_defualt_queue = "items"
    app.conf["CELERYD_CONCURRENCY"] = 4
    """: ["PTC405", "PTC406"],
    """
    def make_celery(registry):
        from celery import Celery
        celery = Celery("shop")
        celery.config_from_object("shop.celeryconfig")
        registry.celery = celery
        return celery
    """: ["PTC402", "PTC407", "PTC402"],
    """
    # celery
    class Config:
        CELERY_TASK_SERIALIZER = "json"
        CELERY_RESULT_SERIALIZER = "json"
        CELERYBEAT_SCHEDULE = {"purge": {"task": "shop.purge", "schedule": 10}}
        DEBUG = True
    """: ["PTC406", "PTC406", "PTC406", "PTC501"],
}
PERIODIC = {
    "app.conf.beat_schedule = {'a': {}}\n": ["PTC501"],
    "app.conf.beat_schedule['a'] = {}\n": ["PTC502"],
    """
    class Registry:
        def on_bound(self, app):
            app.conf.beat_schedule.update(self.entries)
    """: ["PTC502"],
    """
    @app.on_after_configure.connect
    def setup(sender, **_):
        sender.add_periodic_task(10.0, ping.s())
    """: ["PTC502"],
    "app.conf.beat_scheduler = 'redbeat.RedBeatScheduler'\n": ["PTC503"],
    """
    from celery.schedules import crontab

    class Workdays(crontab):
        def is_due(self, last): ...
    """: ["PTC505"],
    """
    from celery.schedules import solar

    SUNSET = solar("sunset", 48.2, 16.4)
    """: ["PTC505"],
    """
    from celery.beat import PersistentScheduler

    class FromDatabase(PersistentScheduler): ...
    """: ["PTC503"],
}
RUNS = {
    "os.environ['CELERY_LOADER'] = 'shop.loader.Loader'\n": ["PTC606"],
    """
    @app.task
    def charge(order_id):
        requests.post("https://pay.example")
    """: ["PTC801"],
    """
    @app.task(acks_late=True)
    def charge(order_id):
        requests.post("https://pay.example")
    """: [],
    """
    @shared_task(bind=True)
    def look(self, item_id):
        requests.get("https://example.org")
    """: [],
    "def view(request):\n    convert.delay(request.POST['file'].file.read())\n": ["PTC802"],
    "def view(item):\n    convert.delay(base64.b64encode(item.data))\n": ["PTC802"],
    """
    @app.task(bind=True)
    def pack(self, order_id):
        try:
            order = session.query(Order).filter_by(id=order_id).one()
        except NoResultFound as error:
            raise self.retry(exc=error, countdown=2)
    """: ["PTC803"],
    """
    @app.task(bind=True)
    def pack(self, order_id):
        order = session.get(Order, order_id)
        if order is None:
            raise self.retry()
    """: ["PTC803"],
    "def view(order):\n    pack.apply_async((order.id,), countdown=3)\n": ["PTC803"],
    "def view(order):\n    pack.apply_async((order.id,), countdown=86400)\n": [],
    "def status(request):\n    return celery.AsyncResult(request.matchdict['id']).state\n": ["PTC804"],
    "def view(order):\n    result = pack.delay(1)\n    order.task_id = result.id\n": ["PTC804"],
    "def sync(user):\n    run.apply_async(task_id=f'sync-{user.id}')\n": ["PTC805"],
    "def sync(user):\n    run.apply_async(task_id=str(uuid4()))\n": [],
    """
    @app.task
    def total():
        return add.delay(1, 2).get(disable_sync_subtasks=False)
    """: ["PTC806"],
    """
    @app.task
    def total():
        result = add.delay(1, 2)
        return result.get()
    """: ["PTC806"],
    """
    @app.task
    def total(settings):
        return settings.get("total")
    """: [],
    "def fixture():\n    subprocess.Popen([sys.executable, '-m', 'celery', '-A', 'shop', 'worker'])\n": ["PTC601"],
}


def test_task_name_that_two_applications_share_is_found_in_the_second() -> None:
    text = "@app.task(name='send_mail')\ndef send(): ...\n"
    files = [source(text, path="shop/tasks.py"), source(text, path="blog/mail.py"), source(text, path="tests/x.py")]
    [finding] = [each for each in audit(files).findings if each.rule.code == "PTC807"]
    assert (finding.path, finding.detail) == ("blog/mail.py", "send_mail, also at shop/tasks.py:2")
    unnamed = "@app.task\ndef send(): ...\n"
    assert audit([source(unnamed, path="shop/tasks.py"), source(unnamed, path="blog/mail.py")]).findings == []


@pytest.mark.parametrize("text", [*TASK_CLASSES, *SETTINGS_IN_CODE, *PERIODIC, *RUNS])
def test_code_as_applications_have_it(text: str) -> None:
    assert sorted(codes(text)) == sorted({**TASK_CLASSES, **SETTINGS_IN_CODE, **PERIODIC, **RUNS}[text])


def test_settings_module_is_read_setting_by_setting() -> None:
    text = "broker_url = 'redis://'\nbeat_schedule = {}\nfavourite_colour = 'red'\n"
    findings = found(text, path="shop/celeryconfig.py")
    assert [each.rule.code for each in findings] == ["PTC403", "PTC501"]
    assert SETTINGS["broker_url"].sentence in findings[0].message


def test_module_without_settings_is_no_settings_module() -> None:
    assert codes("include = ['a']\ntimezone = 'UTC'\n# celery\n") == []


def test_finding_in_a_task_knows_its_task() -> None:
    [finding] = found("@app.task(name='shop.charge')\ndef charge():\n    requests.post('x')\n")
    assert (finding.task, finding.line, finding.severity) == ("shop.charge", 3, Severity.CHANGES)


def test_decorators_of_others_are_no_tasks() -> None:
    assert codes("from invoke import task\n\n\n@task\ndef release(c):\n    requests.post('x')\n# celery\n") == []
