"""The harness of the fault suite counts right, and breaks what it should."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.counting import Count, Promised
from tests.faults.load import MIXTURE, Load
from tests.faults.processes import ROOT, Process, python
from tests.faults.proxy import Proxy, commits
from tests.faults.table import Row, as_markdown, as_text
from tests.parts import pid_exists, wait_until

ID = "2c89f3ac-ae0c-48ea-94e9-aa2e82930001"
BUNDLE = "2c89f3ac-ae0c-48ea-94e9-aa2e82930000"


def count(*promised: Promised, runs: list[str], effects: list[str]) -> Count:
    return Count(promised, Counter(runs), Counter(effects))


# --- counting ------------------------------------------------------------------------------------------


def test_what_is_committed_started_and_took_effect_once_holds() -> None:
    found = count(Promised(ID, ID, 1), runs=[ID], effects=[ID])
    assert (found.committed, found.started, found.took_effect) == (1, 1, 1)
    assert found.holds


def test_members_of_one_workflow_are_started_by_it() -> None:
    members = [Promised(f"{ID}/{n}", ID, 1) for n in (1, 2)]
    found = count(*members, runs=[ID], effects=[f"{ID}/1", f"{ID}/2"])
    assert found.started == 2
    assert found.holds


def test_a_task_that_left_with_many_others_is_started_by_their_workflow() -> None:
    assert count(Promised(ID, ID, 1), runs=[BUNDLE], effects=[ID]).holds


@pytest.mark.parametrize(
    ("found", "lost", "doubled", "strange"),
    [
        (count(Promised(ID, ID, 1), runs=[], effects=[]), [ID], [], []),
        (count(Promised(ID, ID, 1), runs=[ID], effects=[]), [ID], [], []),
        (count(Promised(ID, ID, 1), runs=[ID], effects=[ID, ID]), [], [ID], []),
        (count(Promised(ID, ID, 1), runs=[ID, ID], effects=[ID]), [], [ID], []),
        (count(Promised(ID, ID, 1), runs=[ID, BUNDLE], effects=[ID]), [], [ID], []),
        (count(Promised(ID, ID, 0), runs=[ID], effects=[ID]), [], [ID], []),
        (count(runs=["x"], effects=[]), [], [], ["x"]),
        (count(runs=["x"], effects=["x"]), [], ["x"], ["x"]),
    ],
)
def test_each_way_to_be_off_by_one_is_seen(
    found: Count, lost: list[str], doubled: list[str], strange: list[str]
) -> None:
    assert (found.lost, found.doubled, found.strange) == (lost, doubled, strange)
    assert not found.holds


def test_the_table_has_a_line_for_each_fault() -> None:
    rows = [Row("none", 3, 1200, 1200, 1200, 0, 0, "holds")]
    assert as_text(rows).splitlines()[1].split() == ["none", "3", "1,200", "1,200", "1,200", "0", "0", "holds"]
    assert as_markdown(rows).splitlines()[2] == "| none | 3 | 1,200 | 1,200 | 1,200 | 0 | 0 | holds |"


# --- load ----------------------------------------------------------------------------------------------


def asked(seed: int) -> list[object]:
    return list(Load([1], random.Random(seed), 50, parameters=lambda dice: {"n": dice.random()})._asked)


def test_a_seed_repeats_the_requests() -> None:
    assert asked(1) == asked(1) != asked(2)
    assert {kind for kind, _ in asked(1)} <= set(MIXTURE)  # type: ignore[misc]


# --- the proxy -----------------------------------------------------------------------------------------


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that echoes."""

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(4096):
                connection.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    accepting.join(5)


def connected(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def said_back(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    try:
        return connection.recv(4096)
    except ConnectionResetError:
        return b""


def test_a_proxy_forwards_refuses_and_forwards_again(echo: int) -> None:
    with Proxy(echo) as proxy:
        with connected(proxy) as connection:
            assert said_back(connection, b"one") == b"one"
            proxy.refuse()
            assert said_back(connection, b"two") == b""
        with pytest.raises(ConnectionRefusedError):
            connected(proxy)
        proxy.listen()
        with connected(proxy) as connection:
            assert said_back(connection, b"three") == b"three"


def test_a_proxy_hangs_and_goes_on_with_what_it_was_sent_meanwhile(echo: int) -> None:
    with Proxy(echo) as proxy, connected(proxy) as connection:
        assert said_back(connection, b"one") == b"one"
        proxy.hang()
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            said_back(connection, b"two")
        proxy.go_on()
        connection.settimeout(10)
        assert connection.recv(4096) == b"two"


def test_a_proxy_cuts_the_connection_before_the_answer_to_a_commit(echo: int) -> None:
    with Proxy(echo, commits) as proxy, connected(proxy) as connection:
        assert said_back(connection, b"INSERT") == b"INSERT"
        assert said_back(connection, b"Q\x00\x00\x00\x0bCOMMIT\x00") == b""
        assert proxy.cuts == 1


# --- processes -----------------------------------------------------------------------------------------


def sleeper(directory: Path, **options: bool) -> Process:
    script = "import sys, time; print('ready', flush=True); time.sleep(100)"
    return Process("sleeper", python("-c", script), directory, lambda process: "ready" in process.said, **options)


def test_a_killed_process_is_started_again_and_its_log_goes_on(tmp_path: Path) -> None:
    process = sleeper(tmp_path)
    try:
        first = process.start().pid
        process.kill_and_start()
        assert process.pid != first
        assert not pid_exists(first)
        assert process.said_ever.count("ready") == 2
        assert process.said.count("ready") == 1
    finally:
        process.kill()
    assert not process.running


def test_a_supervised_process_comes_back_until_it_is_killed_on_purpose(tmp_path: Path) -> None:
    process = sleeper(tmp_path, supervised=True)
    try:
        first = process.start().pid
        os.kill(first, 9)
        wait_until(lambda: process.running and process.pid != first)
    finally:
        process.kill()
    assert process.starts == 2
    assert not process.running


def test_a_clock_that_is_wrong_shows_it_in_both_ways_and_still_measures() -> None:
    script = """
import datetime, time
before, measured = datetime.datetime.now(datetime.timezone.utc), time.monotonic()
from tests.faults import clock
clock.shift(7200)
now = datetime.datetime.now(datetime.timezone.utc)
assert 7100 < (now - before).total_seconds() < 7300, now
assert type(now) is type(before) and isinstance(now, datetime.datetime)
assert abs(time.time() - now.timestamp()) < 60
assert time.monotonic() - measured < 60
assert datetime.datetime(2026, 1, 1) == datetime.datetime.fromisoformat("2026-01-01")
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=30)


def test_the_page_of_the_guide_lists_the_faults_that_there_are() -> None:
    # In a separate process: the application's tasks would be registered for every other test, too.
    command = [sys.executable, "-m", "tests.faults", "--list"]
    listed = subprocess.run(command, cwd=ROOT, check=True, timeout=30, capture_output=True, text=True)
    assert listed.stdout.strip() in (ROOT / "migration_guide" / "faults.md").read_text()
