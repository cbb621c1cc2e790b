"""Sets the user, group, umask and pid file of a worker's process."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
from collections.abc import Collection, Iterator
from pathlib import Path

from ..exceptions import ImproperlyConfigured
from ..file_safety import create_new, read_short
from ..payload.serializers import content_types

PICKLE = "application/x-python-serialize"
PIDFILE_SIZE = 32
"""Bytes of a pid file that are read: more than any process id has."""


def set_umask(mask: int | str | None) -> None:
    """Set the umask, given as a number or as a text of octal digits."""
    if mask is None:
        return
    try:
        os.umask(int(mask, 8) if isinstance(mask, str) else mask)
    except ValueError:
        raise ImproperlyConfigured(f"--umask {mask!r} is no mask; write octal digits, such as 022") from None


def become(user: str | int | None, group: str | int | None) -> None:
    """Become another user and group for the rest of the process."""
    if user is None and group is None:
        return
    entry = _user(user) if user is not None else None
    gid = _group(group) if group is not None else entry.pw_gid if entry else None
    try:
        if gid is not None:
            os.setgid(gid)
        if entry is not None:
            os.initgroups(entry.pw_name, entry.pw_gid if gid is None else gid)
            os.setuid(entry.pw_uid)
    except PermissionError:
        raise ImproperlyConfigured(
            f"--uid {user} --gid {group}: only root may become another user; this is user {os.getuid()}"
        ) from None


def refuse_pickles_as_root(accept: Collection[str]) -> None:
    """Raise for a worker that runs as root and reads pickles, as Celery does: a sender could run anything as root."""
    if os.geteuid() == 0 and PICKLE in content_types(accept) and not os.environ.get("C_FORCE_ROOT"):
        raise ImproperlyConfigured(
            "accept_content has pickle, and this worker runs as root: anyone who can write to its queues could run "
            "anything as root. Run it as another user (--uid), accept json only, or set C_FORCE_ROOT=1 on purpose"
        )


def _user(user: str | int) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(int(user)) if str(user).isdigit() else pwd.getpwnam(str(user))
    except KeyError:
        raise ImproperlyConfigured(f"--uid {user}: there is no such user") from None


def _group(group: str | int) -> int:
    try:
        return int(group) if str(group).isdigit() else grp.getgrnam(str(group)).gr_gid
    except KeyError:
        raise ImproperlyConfigured(f"--gid {group}: there is no such group") from None


@contextlib.contextmanager
def pidfile(name: str | None) -> Iterator[None]:
    """Keep the process's id in a file until the end of the block. Raise if the file names a process that still runs."""
    if not name:
        yield
        return
    path = Path(name)
    try:
        _remove_stale(path)
        create_new(path, f"{os.getpid()}\n")
    except OSError as error:
        raise ImproperlyConfigured(f"--pidfile {name} can't be written: {error.strerror}") from None
    try:
        yield
    finally:
        release(name)


def release(name: str | None) -> None:
    """Remove the file, if it is still this process's."""
    if name:
        path = Path(name)
        with contextlib.suppress(OSError, ImproperlyConfigured):
            if _pid_in(path) == os.getpid():
                path.unlink()


def _remove_stale(path: Path) -> None:
    """Remove the pid file of a process that has ended. Raise if the process still runs, or if it is another file."""
    try:
        pid = _pid_in(path)
    except FileNotFoundError:
        return
    if pid is not None and pid != os.getpid() and _runs(pid):
        raise ImproperlyConfigured(f"--pidfile {path}: process {pid} holds it and still runs; end it first")
    path.unlink()


def _pid_in(path: Path) -> int | None:
    """Return the process id in a pid file, or None for an empty file, which a crash may leave."""
    try:
        text = read_short(path, PIDFILE_SIZE).strip()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ImproperlyConfigured(f"--pidfile {path} is a symbolic link; name the file itself") from None
        raise
    if text and not (text.isdecimal() and text.isascii() and int(text) > 0):
        raise ImproperlyConfigured(f"--pidfile {path} holds something other than a process id; name another file")
    return int(text) if text else None


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True  # a process of another user can't be signalled, but it runs
    except (OSError, OverflowError):
        return False
    return True
