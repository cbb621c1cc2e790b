"""Each decoder gets its corpus, broken in many ways. It returns, or raises what it may raise, with little memory.

`make test` runs a few examples, the same ones each time. `make fuzz` runs many, others each time.
"""

from __future__ import annotations

import contextlib
import os
import resource
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase

from tests.fuzz.decoders import DECODERS

EXAMPLES = int(os.environ.get("PTEMPORAL_FUZZ_EXAMPLES", 40))
TIME = 20.0
"""Seconds that one decoding may take. Honest input takes less than a millisecond, and bombs took minutes."""
MEMORY = 800 * 1024
"""Kilobytes by which one decoding may make the process larger."""
SAME_HASH = 2**61 - 1
PIECES = [
    b'"',
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b":",
    b"\\",
    b"\0",
    b"\xff",
    b"-1",
    b"null",
    b"NaN",
    b"1e999",
    b"9" * 5000,
]
PIECES += [
    b'{"__type__":"set","__value__":[',
    b'{"__type__":"',
    b"<<: *a",
    b"!!set {",
    b"\xdd\x7f\xff\xff\xff",
    b"\\ud800",
]
PIECES += [b",".join(b"%d" % (number * SAME_HASH) for number in range(5000))]

one_change = st.tuples(
    st.sampled_from(["cut", "insert", "replace", "repeat", "remove"]),
    st.floats(0, 1),
    st.floats(0, 1),
    st.one_of(st.sampled_from(PIECES), st.binary(max_size=8)),
    st.sampled_from([2, 30, 2000, 100_000]),
)


def changed(data: bytes, how: str, first: float, second: float, piece: bytes, times: int) -> bytes:
    begin, end = sorted((int(first * len(data)), int(second * len(data))))
    middle = {
        "cut": b"",
        "remove": b"",
        "insert": piece + data[begin:end],
        "replace": piece,
        "repeat": data[begin:end] * min(times, 4_000_000 // (end - begin + 1)),
    }[how]
    return data[:begin] + middle + (b"" if how == "cut" else data[end:])


def check(name: str, data: bytes) -> None:
    decoder = DECODERS[name]
    began, size = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.suppress(*decoder.raises):
        decoder.read(data)
    assert time.monotonic() - began < TIME
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - size < MEMORY


@pytest.mark.parametrize("name", DECODERS)
def test_the_corpus_is_read(name: str) -> None:
    for data in DECODERS[name].corpus:
        check(name, data)


@pytest.mark.parametrize("name", DECODERS)
def test_broken_input_is_refused_as_its_decoder_says(name: str) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize="PTEMPORAL_FUZZ_EXAMPLES" not in os.environ,
        database=DirectoryBasedExampleDatabase(".cache/fuzz") if "PTEMPORAL_FUZZ_EXAMPLES" in os.environ else None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(DECODERS[name].corpus), st.lists(one_change, max_size=4))
    def broken(data: bytes, changes: list[tuple[str, float, float, bytes, int]]) -> None:
        for change in changes:
            data = changed(data, *change)[:8_000_000]
        check(name, data)

    broken()
