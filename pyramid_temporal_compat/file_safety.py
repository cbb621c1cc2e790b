"""Opens and creates files that another user of the host must not read or redirect.

Three kinds of files pass through here: the state of the embedded server, which holds arguments of tasks, the log of a
worker, and its pid file.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700
MAX_LINKS = 40
"""Symbolic links in a row that are followed, as in Linux."""


class UnsafeFile(OSError):
    """A file is a symbolic link of another user, or not the kind of file that is needed."""


def private_directory(path: Path) -> None:
    """Create the directory if it is missing. In every case, only its owner may enter it."""
    path.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
    refuse_foreign_link(path)
    make_private(path)


def make_private(path: Path) -> None:
    """Take all permissions on the file or directory from group and others. Raises if it belongs to another user."""
    about = path.stat()
    mode = stat.S_IMODE(about.st_mode)
    if not mode & 0o077:
        return
    try:
        path.chmod(mode & 0o700)
    except PermissionError:
        raise UnsafeFile(
            errno.EPERM, f"it belongs to user {about.st_uid}, and others may read it (mode {mode:o})"
        ) from None


def create_private(path: Path, text: str) -> None:
    """Create the file with this text, for its owner only, unless something of this name exists."""
    try:
        created = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    except FileExistsError:
        return
    with open(created, "w", encoding="utf-8") as file:
        file.write(text)


def create_new(path: Path, text: str) -> None:
    """Create the file with this text. Raises `FileExistsError` for any file or link of this name."""
    created = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with open(created, "w", encoding="utf-8") as file:
        file.write(text)


def read_short(path: Path, size: int) -> str:
    """Return the first `size` bytes of a regular file as text. Does not follow a symbolic link, nor wait for a pipe."""
    opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(opened, "rb") as file:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise UnsafeFile(errno.EINVAL, "it is not a regular file")
        return file.read(size).decode("utf-8", "replace")


def open_for_append(path: str | os.PathLike[str], flags: int = 0) -> int:
    """Open the file to append to it, and create it if it is missing. Return its file descriptor.

    A symbolic link is followed if it belongs to root or to the user of this process, as /dev/stdout does. Raises
    `UnsafeFile` for a link of another user, who could have the process write to a file of his choice.
    """
    name = os.fspath(path)
    wanted = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOCTTY
    for _ in range(MAX_LINKS):
        try:
            return os.open(name, wanted | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.EMLINK):  # FreeBSD says EMLINK
                raise
        refuse_foreign_link(name)
        if name.startswith(("/proc/", "/dev/fd/")):
            return os.open(name, wanted)  # a link of the kernel to an open file, whose text is not always a path
        name = os.path.join(os.path.dirname(name), os.readlink(name))
    raise UnsafeFile(errno.ELOOP, os.strerror(errno.ELOOP))


def refuse_foreign_link(path: str | os.PathLike[str]) -> None:
    """Raise `UnsafeFile` if the path is a symbolic link that belongs to neither root nor the user of this process."""
    about = os.lstat(path)
    if stat.S_ISLNK(about.st_mode) and about.st_uid not in (0, os.geteuid()):
        raise UnsafeFile(
            errno.ELOOP,
            f"it is a symbolic link of user {about.st_uid}, who could redirect it; name the file that it points to",
        )
