"""`--pidfile`, `--logfile` and `--umask`: which files a worker writes, and with which permissions."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.exceptions import ImproperlyConfigured
from pyramid_temporal_compat.log import LogFile
from pyramid_temporal_compat.worker.daemon import pidfile, release
from tests.test_file_safety import NOBODY, as_root


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("content", [None, "", "stale"])
def test_a_pid_file_is_written_and_removed(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "worker.pid"
    if content is not None:
        path.write_text(f"{ended_process()}\n" if content == "stale" else content)
    with pidfile(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"
    assert not path.exists()


def test_a_pid_file_that_is_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "worker.pid"
    link.symlink_to(target)
    for text in (None, "1\n", f"{os.getpid()}\n"):
        if text is not None:
            target.write_text(text)
        with pytest.raises(ImproperlyConfigured, match="is a symbolic link"), pidfile(str(link)):
            pass
        assert link.is_symlink()
        assert (target.read_text() if target.exists() else None) == text


@pytest.mark.parametrize("text", ["root:x:0:0", "0", "-1", "1 2", "٣", "9" * 100])
def test_a_file_that_is_no_pid_file_is_not_overwritten(tmp_path: Path, text: str) -> None:
    path = tmp_path / "worker.pid"
    path.write_text(text)
    if len(text) < 100:
        with pytest.raises(ImproperlyConfigured, match="other than a process id"), pidfile(str(path)):
            pass
        assert path.read_text() == text
    else:
        with pidfile(str(path)):  # such a process can't exist
            pass


def test_a_pid_file_of_a_running_process_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "worker.pid"
    path.write_text(f"{os.getppid()}\n")
    with pytest.raises(ImproperlyConfigured, match=f"process {os.getppid()} holds it"), pidfile(str(path)):
        pass
    release(str(path))
    assert path.exists()


@as_root
def test_a_worker_does_not_log_through_a_link_of_another_user(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "worker.log"
    target.write_text("shadow")
    link.symlink_to(target)
    os.lchown(link, NOBODY, NOBODY)
    with pytest.raises(ImproperlyConfigured, match="symbolic link of user 65534"):
        Celery("logs").log.setup_handlers(logging.getLogger("not-set-up"), str(link), None, False)
    assert target.read_text() == "shadow"


def test_a_log_file_is_opened_again_after_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    handler = LogFile(path)
    record = logging.LogRecord("name", logging.INFO, "", 0, "a line", None, None)
    handler.emit(record)
    path.rename(tmp_path / "worker.log.1")
    handler.emit(record)
    handler.close()
    assert path.read_text() == (tmp_path / "worker.log.1").read_text() == "a line\n"


PROGRAM = """
import os, sys
from pyramid_temporal_compat import Celery
app = Celery("own-files", broker="localhost:1")
app.Worker(quiet=True, queues="own-files", **eval(sys.argv[1]))
"""


def made_by_a_worker(options: dict[str, object]) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM, repr(options)], check=True, timeout=60)


def test_the_umask_counts_for_the_log_file(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    made_by_a_worker({"logfile": str(log), "umask": "077"})
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


@as_root
def test_the_log_file_belongs_to_the_user_whom_the_worker_runs_as() -> None:
    # Not below pytest's own directory: each pytest that starts meanwhile takes it away from all other users.
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o777)
        log = Path(directory, "worker.log")
        made_by_a_worker({"logfile": str(log), "uid": NOBODY})
        assert log.stat().st_uid == NOBODY
