"""The memory that a process and its children use. It is known on Linux only."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def used_kib(pids: Iterable[int], root: Path = Path("/proc")) -> int | None:
    """Return the memory in KiB that processes hold together; None where the system does not say.

    A page that forked processes share counts once, by its share in each: `Pss`. A process that has ended counts 0.
    """
    if not (root / "self").exists():
        return None
    return sum(_kib_of(root / str(pid)) for pid in pids)


def _kib_of(process: Path) -> int:
    for name, key in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        try:
            lines = (process / name).read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith(key):
                return int(line.split()[1])
    return 0
