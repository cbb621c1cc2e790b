"""The commands `ptemporal-compat migrate audit|rewrite|ini`, as a user runs them."""

# Texts as files have them, one a line.
# ruff: noqa: E501
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
APPLICATION = {
    "shop/__init__.py": '"""A shop."""\n\nfrom pyramid.config import Configurator\n',
    "shop/tasks.py": "from celery import shared_task\n\n\n@shared_task(name='shop.pack')\ndef pack(order_id):\n    return order_id\n",
    "Procfile": "worker: celery -A shop worker\n",
    "requirements.txt": "celery==5.3.6\npyramid\n",
}
BLOCKED = "from celery.bootsteps import StartStopStep\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in APPLICATION.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [BIN / "ptemporal-compat", "migrate", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


def test_audit_begins_with_the_summary_and_ends_with_0(folder: Path) -> None:
    done = run(folder, "audit")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Tasks: 1, of which 1 (100 %) move without a change of their code.\n")
    assert "Nothing blocks." in done.stdout
    assert "  1: PTC101 advice [safe fix]: from celery import shared_task: " in done.stdout


def test_task_whose_class_changes_its_behaviour_does_not_count_as_moving_without_a_change(folder: Path) -> None:
    (folder / "shop" / "classes.py").write_text(
        "from celery import Celery, Task\n\n\nclass Timed(Task):\n    def __call__(self, *args):\n        return self.run(*args)\n\n\n"
        "class Nightly(Timed):\n    queue = 'night'\n\n\napp = Celery()\n\n\n@app.task(base=Nightly)\ndef purge(): ...\n"
    )
    assert run(folder, "audit").stdout.startswith("Tasks: 2, of which 1 (50 %) move without a change of their code.\n")
    (folder / "shop" / "app.py").write_text(
        "from celery import Celery\n\napp = Celery(task_cls='shop.classes:Timed')\n"
    )
    assert run(folder, "audit").stdout.startswith("Tasks: 2, of which 0 (0 %) move without a change of their code.\n")


def test_audit_as_json_is_a_list_with_the_promised_keys(folder: Path) -> None:
    found = json.loads(run(folder, "audit", "--json").stdout)
    assert {"PTC101", "PTC601", "PTC701"} == {each["code"] for each in found}
    for each in found:
        assert set(each) == {"code", "severity", "path", "line", "message", "fix"}
        assert each["fix"] in ("none", "safe", "unsafe")


def test_exit_code_follows_the_least_severity_that_fails(folder: Path) -> None:
    assert run(folder, "audit", "--fail-on", "advice").returncode == 3
    (folder / "shop" / "steps.py").write_text(BLOCKED)
    done = run(folder, "audit")
    assert done.returncode == 3
    assert "What blocks:\n  PTC102 A name of Celery that is refused: celery.bootsteps.StartStopStep" in done.stdout
    assert run(folder, "audit", "--fail-on", "never").returncode == 0


def test_file_that_is_no_python_is_named_and_the_rest_is_read(folder: Path) -> None:
    (folder / "shop" / "broken.py").write_text("from celery import (\n")
    done = run(folder, "audit")
    assert "not read: shop/broken.py is no Python that can be read" in done.stdout
    assert "PTC101" in done.stdout


def test_file_that_is_not_utf8_is_named_by_every_command_that_leaves_it_out(folder: Path) -> None:
    (folder / "shop" / "old.py").write_bytes("# é\nfrom celery import shared_task\n".encode("latin-1"))
    assert "not read: shop/old.py: 'utf-8' codec can't decode" in run(folder, "audit").stdout
    assert "not read: shop/old.py" in run(folder, "audit", "--json").stderr
    assert "not read: shop/old.py" in run(folder, "rewrite").stderr


def test_rewrite_shows_a_diff_writes_on_demand_and_then_has_nothing_to_do(folder: Path) -> None:
    shown = run(folder, "rewrite")
    assert "-from celery import shared_task\n+from pyramid_temporal_compat import shared_task\n" in shown.stdout
    assert (folder / "Procfile").read_text() == APPLICATION["Procfile"]
    assert run(folder, "rewrite", "--write").returncode == 0
    assert (folder / "Procfile").read_text() == "worker: ptemporal-compat -A shop worker\n"
    assert (folder / "requirements.txt").read_text() == "pyramid-temporal-compat\npyramid\n"
    assert run(folder, "rewrite").stdout == ""
    assert run(folder, "rewrite", "--write").stdout == "0 files changed\n"


def test_rewrite_of_selected_rules_leaves_the_others(folder: Path) -> None:
    run(folder, "rewrite", "--write", "--select", "PTC6,PTC701")
    assert (folder / "shop" / "tasks.py").read_text() == APPLICATION["shop/tasks.py"]
    assert "ptemporal-compat" in (folder / "Procfile").read_text()
    done = run(folder, "rewrite", "--select", "PTC999")
    assert done.returncode == 2
    assert "--select PTC999: no rule has this code" in done.stderr


def test_alias_changes_no_import_and_calls_the_alias_first(folder: Path) -> None:
    for _ in range(2):
        run(folder, "rewrite", "--write", "--mode", "alias")
    assert (folder / "shop" / "tasks.py").read_text() == APPLICATION["shop/tasks.py"]
    assert (folder / "shop" / "__init__.py").read_text() == (
        '"""A shop."""\n\nimport pyramid_temporal_compat\n\npyramid_temporal_compat.install_as_celery()\n\n'
        "from pyramid.config import Configurator\n"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", "import shop.tasks; print(shop.tasks.shared_task.__module__)"],
        cwd=folder, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.startswith("pyramid_temporal_compat."), "the import still finds the real Celery"


def test_alias_keeps_the_real_kombu_of_an_application_with_messages_of_its_own(folder: Path) -> None:
    (folder / "shop" / "stream.py").write_text("from kombu.mixins import ConsumerMixin\n")
    run(folder, "rewrite", "--write", "--mode", "alias")
    assert "install_as_celery(kombu=False)" in (folder / "shop" / "__init__.py").read_text()


def test_ini_command_shows_and_writes(folder: Path) -> None:
    (folder / "app.ini").write_text("[app:main]\npyramid.includes = pyramid_tm\ncelery.broker_url = redis://\n")
    shown = run(folder, "ini", "app.ini", "--address", "temporal:7233")
    assert "+ptemporal.address = temporal:7233" in shown.stdout
    assert "app.ini: celery.broker_url named a broker" in shown.stderr
    assert run(folder, "ini", "app.ini", "--write").returncode == 0
    assert "pyramid.includes = pyramid_tm pyramid_temporal_compat" in (folder / "app.ini").read_text()
    missing = run(folder, "ini", "nowhere.ini")
    assert missing.returncode == 2
    assert "'nowhere.ini' can't be read: No such file or directory" in missing.stderr


def test_loaded_application_tells_its_settings_and_its_periodic_tasks(folder: Path) -> None:
    (folder / "shop" / "app.py").write_text(
        "from celery import Celery\n\napp = Celery('shop', include=['shop.tasks'])\n"
        "app.conf.update({'task_protocol': 1, 'beat_' + 'schedule': {'night': {'task': 'shop.gone', 'schedule': 60}}})\n"
    )
    assert run(folder, "audit", "-A", "shop.app").stdout.startswith("Tasks: 1, ")  # read and loaded: counted once
    found = json.loads(run(folder, "audit", "-A", "shop.app", "--json").stdout)
    told = {(each["code"], each["message"].split(":")[0]) for each in found if each["path"] == "shop.app"}
    assert ("PTC403", "task_protocol of the loaded application") in told
    assert ("PTC501", "night of the loaded application") in told
    assert ("PTC907", "shop.gone, which the periodic task 'night' names") in told


def test_application_that_does_not_load_is_a_finding_and_the_code_is_read_all_the_same(folder: Path) -> None:
    done = run(folder, "audit", "-A", "shop.nothing")
    assert "PTC410" in done.stdout
    assert "PTC101" in done.stdout


def test_without_libcst_the_command_says_what_to_install(folder: Path) -> None:
    script = (
        "import sys\nsys.modules['libcst'] = None\nsys.argv = ['ptemporal-compat', 'migrate', 'audit']\n"
        "from pyramid_temporal_compat.cli import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "reading Python files needs libcst: pip install 'pyramid-temporal-compat[migrate]'" in done.stderr


def test_pyramid_application_that_has_not_moved_is_loaded_by_its_ini(folder: Path) -> None:
    (folder / "shop" / "__init__.py").write_text(
        "from celery import Celery\nfrom pyramid.config import Configurator\n\n"
        "celery = Celery('shop')\ncelery.set_default()\n\n\n"
        "def main(global_config, **settings):\n"
        "    celery.conf.update({'task_' + 'protocol': 1, 'imports': ['shop.tasks']})\n"
        "    return Configurator(settings=settings).make_wsgi_app()\n"
    )
    (folder / "app.ini").write_text("[app:main]\nuse = call:shop:main\n")
    done = run(folder, "audit", "--ini", "app.ini", "--json")
    told = {
        (each["code"], each["message"].split(":")[0]) for each in json.loads(done.stdout) if each["path"] == "app.ini"
    }
    assert told == {("PTC403", "task_protocol of the loaded application")}
