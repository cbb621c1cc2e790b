"""`install_as_celery()` in fresh interpreters, with and without the real Celery installed."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

HIDE_CELERY = """
from importlib.machinery import PathFinder
find_spec = PathFinder.find_spec
def find_other(name, path=None, target=None):
    hidden = name.partition(".")[0] in {"celery", "kombu", "billiard", "amqp", "vine"}
    return None if hidden else find_spec(name, path, target)
PathFinder.find_spec = find_other
"""
INSTALL = "import pyramid_temporal_compat; pyramid_temporal_compat.install_as_celery()\n"
NOT_OURS = [
    *("-W", "ignore:'cgi' is deprecated"),  # WebOb imports cgi
    *("-W", "ignore:pkg_resources is deprecated"),  # Pyramid imports pkg_resources
    *("-W", "ignore:Deprecated call to `pkg_resources.declare_namespace"),  # PasteDeploy warns when Pyramid imports it
]


def python(code: str, *arguments: str, cwd: Path | None = None) -> str:
    """Run the code in a fresh interpreter, where a warning is an error. Return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *NOT_OURS, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(params=["the real Celery is installed", "it is not"])
def prelude(request: pytest.FixtureRequest) -> str:
    return INSTALL if request.param == "the real Celery is installed" else HIDE_CELERY + INSTALL


IMPORTS = """
import celery
from celery import Celery, Task, current_app, current_task, shared_task, signals, uuid
import celery.signals
import celery.utils.log as log
import kombu
from celery.exceptions import Retry, SoftTimeLimitExceeded
from celery.result import AsyncResult
from celery.schedules import crontab
from celery.signals import task_prerun
from celery.utils.log import get_task_logger
from celery.app.task import Context
from kombu import Exchange, Queue
from kombu.serialization import register
from kombu.utils.json import register_type
from billiard.exceptions import SoftTimeLimitExceeded as Soft
import pyramid_temporal_compat as ours
import pyramid_temporal_compat.exceptions
import pyramid_temporal_compat.signals
"""


def test_celerys_imports_give_this_packages_objects(prelude: str) -> None:
    checks = """
    assert Celery is ours.Celery is celery.Celery is celery.app.base.Celery
    assert Task is ours.Task and shared_task is ours.shared_task and AsyncResult is ours.AsyncResult
    assert Retry is ours.exceptions.Retry and Soft is SoftTimeLimitExceeded is ours.exceptions.SoftTimeLimitExceeded
    assert celery.signals is signals and signals.task_prerun is task_prerun is ours.signals.task_prerun
    assert celery.exceptions.Retry is Retry
    assert log.get_task_logger is get_task_logger
    assert isinstance(current_app, Celery) and not current_task
    assert current_app is ours.current_app and current_task is ours.current_task and uuid is ours.uuid
    """
    assert python(prelude + IMPORTS + textwrap.dedent(checks) + "print('fine')") == "fine"


def test_a_module_has_the_same_attributes_as_celerys(prelude: str) -> None:
    code = """
    import celery, kombu, celery.contrib, importlib.util, pickle
    assert (celery.__name__, celery.__package__, celery.__spec__.name) == ("celery",) * 3
    assert celery.__path__ is not None and not hasattr(celery.signals, "__path__")
    assert celery.signals.__package__ == "celery"
    assert celery.__version__.startswith("5.") and kombu.__version__.startswith("5.")
    assert celery.VERSION >= (5, 0) and celery.VERSION.major == celery.version_info[0] == 5
    assert {"Celery", "shared_task", "current_app"} <= set(celery.__all__) <= set(dir(celery))
    assert importlib.util.find_spec("celery.signals") is not None
    assert pickle.loads(pickle.dumps(celery.signals)) is celery.signals
    namespace = {}
    exec("from celery.exceptions import *", namespace)
    assert issubclass(namespace["Ignore"], namespace["CeleryError"])
    print("fine")
    """
    assert python(prelude + textwrap.dedent(code)) == "fine"


def test_an_import_hook_of_an_agent_sees_the_modules_that_it_waits_for(prelude: str) -> None:
    code = """
    import importlib.machinery, sys
    seen = []
    class Hook:
        def find_spec(self, name, path, target=None):
            seen.append(name)
    sys.meta_path.insert(0, Hook())
    {install}
    kinds = [getattr(finder, "__name__", type(finder).__name__) for finder in sys.meta_path]
    print([name for name in seen if name.startswith("celery")], kinds[kinds.index("CeleryFinder") + 1])
    """
    hidden = prelude.removesuffix(INSTALL)
    found = "['celery', 'celery.app', 'celery.app.trace'] PathFinder"
    assert python(hidden + textwrap.dedent(code).format(install=INSTALL)) == found


def test_the_distribution_celery_is_found_while_the_names_are_installed(prelude: str) -> None:
    code = """
    from importlib.metadata import distributions, requires, version
    assert version("celery") == version("Celery") == celery.__version__ and not requires("celery")
    assert version("billiard") == ".".join(map(str, billiard.VERSION[:3])) and version("kombu") == kombu.__version__
    assert version("pyramid") and billiard.einfo.ExceptionWithTraceback
    def ours():
        return sorted(each.metadata["Name"] for each in distributions() if type(each).__name__ == "CeleryDistribution")
    print(*ours())
    pyramid_temporal_compat.as_celery.uninstall()
    print(*ours())
    """
    imports = "import billiard, billiard.einfo, celery, kombu\n"
    assert python(prelude + imports + textwrap.dedent(code)) == "billiard celery kombu"


def test_our_modules_are_imported_on_first_use(prelude: str) -> None:
    code = """
    import sys, celery, celery.utils, celery.schedules, kombu
    made = ("schedules", "celery_names.queues", "celery_names.functional")
    before = [name for name in made if f"pyramid_temporal_compat.{name}" in sys.modules]
    celery.schedules.crontab, kombu.Queue
    print(before, "pyramid_temporal_compat.schedules.celery_schedules" in sys.modules, "temporalio" in sys.modules)
    """
    assert python(prelude + textwrap.dedent(code)) == "[] True False"


def test_an_unknown_celery_module_is_not_found(prelude: str) -> None:
    code = """
    for name in ("celery.nonsense", "kombu.nonsense.more", "celery.schedules.more"):
        try:
            __import__(name)
        except ModuleNotFoundError as error:
            print(error.name)
    import celery
    print(hasattr(celery, "nonsense"))
    """
    printed = python(prelude + textwrap.dedent(code))
    assert printed.split() == ["celery.nonsense", "kombu.nonsense", "celery.schedules.more", "False"]


def test_pickles_written_under_celerys_names_are_read(prelude: str) -> None:
    code = """
    import pickle
    written = b"ccelery.exceptions\\nReject\\n(Vfull\\nI01\\ntR."
    from pyramid_temporal_compat.exceptions import Reject
    back = pickle.loads(written)
    assert type(back) is Reject and back.requeue and pickle.loads(pickle.dumps(back)).reason == "full"
    print("fine")
    """
    assert python(prelude + textwrap.dedent(code)) == "fine"


def test_a_second_call_does_nothing_and_uninstall_undoes_both() -> None:
    code = """
    import sys, pyramid_temporal_compat as ours
    from pyramid_temporal_compat.as_celery import uninstall
    before = list(sys.meta_path)
    ours.install_as_celery(); ours.install_as_celery()
    assert len(sys.meta_path) == len(before) + 1
    import celery.signals
    ours.install_as_celery()
    uninstall(); uninstall()
    assert sys.meta_path == before and "celery" not in sys.modules
    import celery
    print(celery.__file__.endswith("__init__.py"))
    """
    assert python(code) == "True"


def test_kombu_false_keeps_the_real_kombu() -> None:
    code = """
    import pyramid_temporal_compat
    pyramid_temporal_compat.install_as_celery(kombu=False)
    import celery, kombu
    from kombu import Connection, Queue
    print(celery.__spec__.origin, Connection("memory://").transport_cls, Queue("q").name)
    """
    assert python(code) == "pyramid_temporal_compat memory q"


def test_the_error_of_a_late_call_names_the_module_that_imported_the_real_celery(tmp_path: Path) -> None:
    (tmp_path / "shop_tasks.py").write_text("import json\nfrom celery import shared_task\n")
    (tmp_path / "shop.py").write_text("import shop_tasks\nimport celery\n")
    code = """
    import sys, shop, pyramid_temporal_compat
    from pyramid_temporal_compat.as_celery import CeleryImportedFirst
    try:
        pyramid_temporal_compat.install_as_celery()
    except CeleryImportedFirst as error:
        print(error)
    import celery
    print(celery.__file__ is not None)
    """
    printed = python("import sys; sys.path.insert(0, '.')\n" + textwrap.dedent(code), cwd=tmp_path)
    assert "the real 'celery' was imported before" in printed
    assert "by the module 'shop_tasks'" in printed
    assert "first line of the application's own __init__.py" in printed
    assert printed.endswith("True")


APPLICATION = """
from celery import Celery
from pyramid.config import Configurator

def main(global_config, **settings):
    config = Configurator(settings=settings)
    config.add_route("which", "/")
    found = {"celery": Celery.__module__.partition(".")[0]}
    config.add_view(lambda request: found, route_name="which", renderer="json")
    return config.make_wsgi_app()
"""
INI = """
[app:main]
paste.app_factory = pyramid_temporal_compat.as_celery:app_factory
as_celery.app = shop:main
"""


def test_an_ini_alone_makes_an_application_find_this_package(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APPLICATION)
    (tmp_path / "app.ini").write_text(INI)
    code = """
    import sys; sys.path.insert(0, ".")
    from pyramid.paster import get_app
    from webob import Request
    print(Request.blank("/").get_response(get_app("app.ini")).text)
    """
    assert python(code.replace("    ", ""), cwd=tmp_path) == '{"celery": "pyramid_temporal_compat"}'


def test_an_ini_without_the_application_raises_an_error_that_says_what_to_write() -> None:
    from pyramid_temporal_compat.as_celery import app_factory
    from pyramid_temporal_compat.exceptions import ImproperlyConfigured

    with pytest.raises(ImproperlyConfigured, match=r"as_celery\.app = myapp:main"):
        app_factory({})


@pytest.mark.parametrize("program", [["script.py"], ["-m", "script"]])
def test_a_program_can_be_run_under_install_as_celery(tmp_path: Path, program: list[str]) -> None:
    (tmp_path / "script.py").write_text(
        "import sys, celery.signals\nprint(celery.Celery.__name__, celery.__spec__.origin, sys.argv[1:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pyramid_temporal_compat.as_celery", *program, "a", "b"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert done.stdout.strip() == "Celery pyramid_temporal_compat ['a', 'b']", done.stderr


def test_a_console_script_can_be_run_under_install_as_celery() -> None:
    run = [sys.executable, "-m", "pyramid_temporal_compat.as_celery"]
    done = subprocess.run([*run, "pserve", "--help"], capture_output=True, text=True, timeout=60)
    assert "usage: pserve" in done.stdout, done.stderr
    done = subprocess.run([*run, "no-such-command"], capture_output=True, text=True, timeout=60)
    assert "no installed package has a command 'no-such-command'" in done.stderr


def run_as_celery(*arguments: str, cwd: Path) -> str:
    """Run a program after `install_as_celery()`, with every warning as an error, and return what it printed."""
    command = [sys.executable, "-W", "error", *NOT_OURS, "-m", "pyramid_temporal_compat.as_celery", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=60)
    return done.stdout + done.stderr


@pytest.mark.parametrize("program", [["celery"], ["-m", "celery"]])
def test_celerys_own_command_line_is_ours(tmp_path: Path, program: list[str]) -> None:
    said = run_as_celery(*program, "-A", "nosuch", "worker", cwd=tmp_path)
    assert "ptemporal-compat: -A nosuch: there is no module 'nosuch'" in said


def test_pytest_may_be_run_with_warnings_as_errors(tmp_path: Path) -> None:
    # Pytest asks for this by itself if the package is installed from a wheel, because the wheel has a plugin.
    (tmp_path / "conftest.py").write_text("import pytest\npytest.register_assert_rewrite('pyramid_temporal_compat')\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    (tmp_path / "test_it.py").write_text("def test_it():\n    import celery\n    print(celery.__spec__.origin)\n")
    assert "1 passed" in run_as_celery("pytest", "-q", cwd=tmp_path)


def test_the_real_kombu_may_stay(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import celery, kombu\nprint(type(celery).__name__, type(kombu).__name__)\n")
    said = run_as_celery("--real-kombu", "script.py", cwd=tmp_path)
    assert said.split()[0] == "CeleryModule" != said.split()[1]


@pytest.mark.parametrize(("value", "ours"), [("true", "False"), ("false", "True")])
def test_an_ini_says_whether_the_real_kombu_stays(tmp_path: Path, value: str, ours: str) -> None:
    (tmp_path / "shop.py").write_text(APPLICATION.replace("from celery import", "import kombu\nfrom celery import"))
    (tmp_path / "app.ini").write_text(f"{INI}as_celery.real_kombu = {value}\n")
    code = """
    import sys; sys.path.insert(0, ".")
    from pyramid.paster import get_app
    get_app("app.ini")
    print(type(sys.modules["kombu"]).__name__ == "CeleryModule")
    """
    assert python(code.replace("    ", ""), cwd=tmp_path) == ours


KOMBU_STAYS = """
import pyramid_temporal_compat
pyramid_temporal_compat.install_as_celery(kombu=False)
from celery import Celery
import kombu.exceptions
app = Celery("shop")
app.conf.update(ptemporal_address="127.0.0.1:1", task_publish_retry=False, ptemporal_dispatch_timeout=2)

@app.task(name="add")
def add(x, y):
    return x + y
"""


def test_the_real_kombus_clauses_catch_the_errors_of_a_call() -> None:
    code = """
    try:
        add.delay(1, 2)
    except kombu.exceptions.OperationalError as error:
        assert isinstance(error, pyramid_temporal_compat.exceptions.OperationalError)
        print("the server is away")
    try:
        add.delay(object(), 2)
    except kombu.exceptions.EncodeError as error:
        assert isinstance(error, TypeError)
        print("the argument can't travel")
    """
    assert python(KOMBU_STAYS + textwrap.dedent(code)).splitlines() == [
        "the server is away",
        "the argument can't travel",
    ]


def test_uninstalling_takes_our_errors_out_of_the_real_kombus() -> None:
    code = """
    from pyramid_temporal_compat import exceptions
    from pyramid_temporal_compat.as_celery.finder import uninstall
    uninstall()
    assert not any(each.__module__ == "kombu.exceptions" for each in exceptions.OperationalError.__mro__)
    """
    python(KOMBU_STAYS + textwrap.dedent(code))


def test_kombu_may_be_missing_where_it_is_to_stay() -> None:
    python(HIDE_CELERY + "import pyramid_temporal_compat; pyramid_temporal_compat.install_as_celery(kombu=False)")
