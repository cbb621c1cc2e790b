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
from ..payload.serializers import content_types

PICKLE = "application/x-python-serialize"


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
    holder = _holder(path)
    if holder is not None:
        raise ImproperlyConfigured(f"--pidfile {name}: process {holder} holds it and still runs; end it first")
    try:
        path.write_text(f"{os.getpid()}\n")
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
        with contextlib.suppress(OSError, ValueError):
            if int(path.read_text()) == os.getpid():
                path.unlink()


def _holder(path: Path) -> int | None:
    try:
        pid = int(path.read_text())
        os.kill(pid, 0)
    except (OSError, ValueError) as error:
        # A process that belongs to another user can't be signalled, but it runs.
        return pid if isinstance(error, OSError) and error.errno == errno.EPERM else None
    return pid if pid != os.getpid() else None
