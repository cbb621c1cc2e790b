"""Files that another user of the host must not read or redirect."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from pyramid_temporal_compat import file_safety
from pyramid_temporal_compat.file_safety import UnsafeFile, open_for_append

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def append(path: Path, text: str) -> None:
    with open(path, "a", opener=open_for_append) as file:
        file.write(text)


def test_a_private_directory_is_closed_to_others_also_if_it_exists(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    old.mkdir()
    old.chmod(0o755)
    for directory in (new, old):
        file_safety.private_directory(directory)
        assert mode(directory) == 0o700


def test_an_existing_file_or_link_is_not_written_where_a_new_one_is_wanted(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    file_safety.create_private(link, "text")
    assert not target.exists()
    with pytest.raises(FileExistsError):
        file_safety.create_new(link, "text")
    assert not target.exists()


def test_a_log_is_appended_to_through_a_link_of_the_own_user(tmp_path: Path) -> None:
    target, first, second = tmp_path / "target", tmp_path / "first", tmp_path / "second"
    target.write_text("old ")
    second.symlink_to("target")
    first.symlink_to(second)
    append(first, "new")
    assert target.read_text() == "old new"


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux is /dev/stdout a link to /proc")
def test_a_log_can_go_to_the_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    append(Path("/dev/stdout"), "a line\n")
    assert capfd.readouterr().out == "a line\n"


@as_root
def test_a_log_is_not_written_through_a_link_of_another_user(tmp_path: Path) -> None:
    target, theirs, ours = tmp_path / "target", tmp_path / "theirs", tmp_path / "ours"
    target.write_text("shadow")
    theirs.symlink_to(target)
    os.lchown(theirs, NOBODY, NOBODY)
    ours.symlink_to(theirs)
    for link in (theirs, ours):
        with pytest.raises(UnsafeFile, match="symbolic link of user 65534"):
            append(link, "text")
    assert target.read_text() == "shadow"


def test_links_in_a_circle_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UnsafeFile):
        append(tmp_path / "a", "text")


def test_a_pipe_is_not_read_as_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnsafeFile, match="not a regular file"):
        file_safety.read_short(tmp_path / "pipe", 10)
