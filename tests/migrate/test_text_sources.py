"""Commands, requirements, pins and ini files."""

# Texts as files have them, one a line.
# ruff: noqa: E501
from __future__ import annotations

from pathlib import Path

import pytest

from pyramid_temporal_compat.exceptions import ImproperlyConfigured
from pyramid_temporal_compat.migrate.findings import Kind
from pyramid_temporal_compat.migrate.packaging import lowest, satisfiable
from pyramid_temporal_compat.migrate.source_files import kind_of, source_files

from .parts import after, codes, found

OURS = "ptemporal-compat"
SAFE_COMMANDS = {
    "worker: celery -A shop worker -l info -Q a,b\n": f"worker: {OURS} -A shop worker -l info -Q a,b\n",
    "ExecStart=/srv/venv/bin/celery -A shop worker \\\n    -c 4\n": (
        f"ExecStart=/srv/venv/bin/{OURS} -A shop worker \\\n    -c 4\n"
    ),
    "command=celery --app=shop.tasks:app worker\n": f"command={OURS} --app=shop.tasks:app worker\n",
    'CMD ["celery", "-A", "shop", "worker"]\n': f'CMD ["{OURS}", "-A", "shop", "worker"]\n',
    "w:\n  command: celery -A shop worker\n": f"w:\n  command: {OURS} -A shop worker\n",
    "exec newrelic-admin run-program celery -A shop worker\n": f"exec newrelic-admin run-program {OURS} -A shop worker\n",
    "gosu app celery -A shop worker\n": f"gosu app {OURS} -A shop worker\n",
    "DD=1 celery -A shop worker -c ${N:-1}\n": f"DD=1 {OURS} -A shop worker -c ${{N:-1}}\n",
    "/srv/bin/python3 -m celery -A shop worker\n": f"/srv/bin/{OURS} -A shop worker\n",
    "python -m celery -A shop worker\n": f"{OURS} -A shop worker\n",
    "celery -A shop inspect ping\n": f"{OURS} -A shop inspect ping\n",
    "0 3 * * * root /srv/venv/bin/celery -A shop call shop.purge -k '{}'\n": (
        "0 3 * * * root /srv/venv/bin/celery -A shop call shop.purge -k '{}'\n"
    ),
    "RUN celery -A shop purge -f\n": f"RUN {OURS} -A shop purge -f\n",
    "celery multi start w1 -A shop\n": "celery multi start w1 -A shop\n",
    # The application's own program has a command `celery`: only a person knows what to write.
    "command=newrelic-admin run-program shop celery worker\n": "command=newrelic-admin run-program shop celery worker\n",
    "# celery -A shop worker\n": "# celery -A shop worker\n",
    "pip install celery redis\n": "pip install celery redis\n",
    "depends_on: [celery]\n": "depends_on: [celery]\n",
}
UNSAFE_COMMANDS = {
    "w: celery -A shop.celery worker --ini production.ini -c 4\n": f"w: {OURS} worker production.ini -c 4\n",
    "b: celery -A shop beat -l info\n": f"b: {OURS} -A shop beat --watch 60 -l info\n",
    "b: celery -A shop beat -S redbeat.RedBeatScheduler\n": f"b: {OURS} -A shop beat --watch 60\n",
    'CMD ["celery", "-A", "shop", "beat"]\n': f'CMD ["{OURS}", "-A", "shop", "beat", "--watch=60"]\n',
}
OTHER_COMMANDS = {
    "celery -A shop flower\n": ["PTC603"],
    "celery -A shop inspect ping\n": ["PTC604"],
    "celery multi start w1 -A shop\n": ["PTC604"],
    "celery -A shop events\n": ["PTC603"],
    "celery -A shop events --dump\n": ["PTC604"],
    "0 3 * * * celery -A shop call shop.purge\n": ["PTC504"],
    "celery -A shop worker -D -E\n": ["PTC601", "PTC605", "PTC605"],
    "celery -A shop worker -B\n": ["PTC601", "PTC602"],
    "celery -A shop beat -S redbeat.RedBeatScheduler\n": ["PTC503", "PTC602"],
    "Environment=CELERY_LOADER=shop.loader.Loader\n": ["PTC606"],
    "ENV CELERY_BROKER_URL redis://redis/0\n": ["PTC606"],
    "    image: mher/flower:2.0\n": ["PTC603"],
    "FROM docker.io/python:3.8-slim\n": ["PTC702"],
    "FROM python:3.12-slim\n": [],
}


@pytest.mark.parametrize("text", SAFE_COMMANDS)
def test_command_that_works_here_is_renamed_and_its_options_stay(text: str) -> None:
    assert after(text, Kind.COMMANDS) == SAFE_COMMANDS[text]


@pytest.mark.parametrize("text", UNSAFE_COMMANDS)
def test_command_that_changes_more_needs_unsafe(text: str) -> None:
    assert after(text, Kind.COMMANDS) == text
    assert after(text, Kind.COMMANDS, unsafe=True) == UNSAFE_COMMANDS[text]


@pytest.mark.parametrize("text", OTHER_COMMANDS)
def test_other_commands_and_variables(text: str) -> None:
    assert sorted(codes(text, Kind.COMMANDS)) == OTHER_COMMANDS[text]


def test_option_values_are_not_taken_for_options_of_others() -> None:
    [finding] = found("celery -A shop worker -Q a,b && rm -D x\n", Kind.COMMANDS)
    assert finding.detail == "celery -A shop worker -Q a,b"
    [listed] = found('CMD ["celery", "-A", "shop", "worker"]\n', Kind.COMMANDS)
    assert listed.detail == "celery -A shop worker"


# --- requirements and pins --------------------------------------------------------------------------


def test_requirement_of_celery_is_replaced_with_its_marker_and_comment_kept() -> None:
    before = "flask\ncelery[redis]==5.3.6 ; python_version > '3.8'  # tasks\nkombu\n"
    now = "flask\npyramid-temporal-compat ; python_version > '3.8'  # tasks\nkombu\n"
    assert after(before, Kind.REQUIREMENTS) == now
    assert codes(before, Kind.REQUIREMENTS) == ["PTC701", "PTC701"]


def test_compiled_requirements_are_only_told() -> None:
    text = "# autogenerated by pip-compile\ncelery==5.3.6 \\\n    --hash=sha256:00\n"
    assert after(text, Kind.REQUIREMENTS) == text
    assert "compile it again" in found(text, Kind.REQUIREMENTS)[0].message


@pytest.mark.parametrize(
    "pin", ["sqlalchemy==1.3.24", "SQLAlchemy<1.4", "pyramid<2", "click~=7.1", "transaction==2.4.0"]
)
def test_pin_below_the_lowest_version_blocks(pin: str) -> None:
    assert codes(f"{pin}\n", Kind.REQUIREMENTS) == ["PTC702"]


@pytest.mark.parametrize("pin", ["sqlalchemy==1.4.50", "sqlalchemy<3", "pyramid~=2.0", "click", "pyramid-tm==1.0"])
def test_pin_that_can_be_met_is_no_finding(pin: str) -> None:
    assert codes(f"{pin}\n", Kind.REQUIREMENTS) == []


def test_the_lowest_versions_are_those_of_the_package() -> None:
    assert lowest()["python"] == (3, 10)
    assert satisfiable(">=1.4,<2", lowest()["sqlalchemy"])


def test_pyproject_is_read_in_both_of_its_shapes() -> None:
    listed = (
        '[project]\nrequires-python = ">=3.10"\ndependencies = [\n    "celery[redis]>=5",  # tasks\n    "pyramid",\n]\n'
    )
    assert after(listed, Kind.PYPROJECT) == listed.replace("celery[redis]>=5", "pyramid-temporal-compat")
    poetry = '[tool.poetry.dependencies]\npython = "^3.10"\ncelery = {version = "^5.3", extras = ["redis"]}\n'
    assert after(poetry, Kind.PYPROJECT) == poetry.split("celery")[0] + 'pyramid-temporal-compat = "*"\n'
    assert codes('[project]\nrequires-python = "<3.10"\n', Kind.PYPROJECT) == ["PTC702"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("[pytest]\nfilterwarnings =\n    error\n", Kind.PYTEST),
        ('[tool.pytest.ini_options]\nfilterwarnings = [\n    "error",\n]\n', Kind.PYPROJECT),
    ],
)
def test_warnings_that_are_errors_are_found(text: str, kind: Kind) -> None:
    assert codes(text, kind) == ["PTC703"]


def test_setup_cfg_is_read_for_its_requirements() -> None:
    text = "[options]\ninstall_requires =\n    celery>=5\n    pyramid\n"
    assert after(text, Kind.PYTEST) == text.replace("celery>=5", "pyramid-temporal-compat")


def test_setup_py_is_read_for_its_requirements() -> None:
    text = "from setuptools import setup\n\nsetup(install_requires=['celery[redis]>=5', 'pyramid'])\n"
    assert after(text, path="setup.py") == text.replace("celery[redis]>=5", "pyramid-temporal-compat")


# --- ini files --------------------------------------------------------------------------------------

INI = """
[app:main]
use = egg:shop
pyramid.includes = pyramid_tm pyramid_celery
celery.broker_url = redis://localhost
celery.task_defalut_queue = items
celery_config = /etc/shop/celeryconfig.py
h_pyramid_sentry.celery_support = true

[celery]
CELERY_TASK_SERIALIZER = pickle
worker_prefetch_multiplier = 1

[celerybeat:purge]
task = shop.tasks.purge
type = crontab
schedule = {"minute": 0}

[import-hook:celery.app.task]
enabled = false

[program:worker]
command = celery -A shop worker
"""


def test_ini_file_is_read_section_by_section() -> None:
    assert sorted((each.detail, each.rule.code) for each in found(INI, Kind.INI, "app.ini")) == [
        ("CELERY_TASK_SERIALIZER", "PTC406"),
        ("CELERY_TASK_SERIALIZER", "PTC808"),
        ("[celerybeat:purge]", "PTC501"),
        ("[import-hook:celery.app.task]", "PTC105"),
        ("celery -A shop worker", "PTC601"),
        ("celery.broker_url", "PTC403"),
        ("celery.task_defalut_queue", "PTC405"),
        ("celery_config", "PTC408"),
        ("h_pyramid_sentry.celery_support", "PTC107"),
        ("pyramid.includes", "PTC207"),
        ("worker_prefetch_multiplier", "PTC404"),
    ]
    assert "pyramid_tm pyramid_temporal_compat" in after(INI, Kind.INI, unsafe=True)


def test_comment_of_an_ini_silences_its_line() -> None:
    assert codes("[app:main]\ncelery.broker_url = x  ; ptc: ignore[PTC403]\n", Kind.INI) == []


# --- which files are read ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("tasks.py", Kind.PYTHON),
        ("production.ini", Kind.INI),
        ("development.ini.example", Kind.INI),
        ("pytest.ini", Kind.PYTEST),
        ("supervisord-dev.conf", Kind.COMMANDS),
        ("Procfile", Kind.COMMANDS),
        ("Dockerfile-f40", Kind.COMMANDS),
        ("docker-compose.yml", Kind.COMMANDS),
        ("celery.service", Kind.COMMANDS),
        ("run.sh", Kind.COMMANDS),
        ("requirements.txt", Kind.REQUIREMENTS),
        ("requirements/prod.in", Kind.REQUIREMENTS),
        ("pyproject.toml", Kind.PYPROJECT),
        ("README.md", None),
    ],
)
def test_kind_of_a_file_follows_its_name(name: str, kind: Kind | None) -> None:
    assert kind_of(Path(name)) is kind


def test_folders_of_others_are_left_out(tmp_path: Path) -> None:
    for name in ("shop/tasks.py", ".venv/celery.py", "node_modules/x.py", "bin/start"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("#!/bin/sh\nexec celery -A shop worker\n")
    assert [Path(file.path).name for file in source_files([str(tmp_path)]).files] == ["start", "tasks.py"]
    with pytest.raises(ImproperlyConfigured, match="there is no file or folder 'nowhere'"):
        source_files(["nowhere"])
