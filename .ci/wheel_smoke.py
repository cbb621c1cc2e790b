"""What a user does first with the installed wheel: import it, ask for help, and run one task on the embedded server.

This file is copied out of the checkout, and is also the module whose tasks the worker runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import pyramid_temporal_compat
from pyramid_temporal_compat import Celery

COMMAND = Path(sys.executable).parent / "ptemporal-compat"
ADDRESS = "SMOKE_ADDRESS"

app = Celery("wheel_smoke")
app.conf.ptemporal_address = os.environ.get(ADDRESS, "localhost:7233")


@app.task
def add(x: int, y: int) -> int:
    return x + y


def main() -> None:
    package = Path(pyramid_temporal_compat.__file__).parent
    assert Path(sys.prefix) in package.parents, f"imported from {package}, and not from the wheel"
    assert (package / "py.typed").exists()
    assert pyramid_temporal_compat.__version__ == metadata.version("pyramid-temporal-compat")
    for name in pyramid_temporal_compat.__all__:
        getattr(pyramid_temporal_compat, name)
    print(f"  {len(pyramid_temporal_compat.__all__)} public names")

    helped = subprocess.run([COMMAND, "--help"], capture_output=True, text=True, check=True)
    assert "worker" in helped.stdout
    assert helped.stderr == ""
    print("  ptemporal-compat --help")

    with running("server", "--memory", "--headless", "--port", "0") as server:
        assert server.stdout is not None
        address = next(line.split()[1] for line in server.stdout if line.strip().startswith("address "))
        os.environ[ADDRESS] = app.conf.ptemporal_address = address
        with running("-A", "wheel_smoke", "worker", "--concurrency", "1"):
            assert add.delay(2, 3).get(timeout=60) == 5
    print("  one task, from delay to result")


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([COMMAND, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
