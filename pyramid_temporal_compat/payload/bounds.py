"""Bounds for what others have written: values, depth, bytes after decompression, and members of a set with one hash.

A few kilobytes can stand for gigabytes: a million empty lists, a text that inflates, numbers that all have the same
hash. So each decoder of this package checks a bound before it makes the values. `migration_guide/decoders.md` lists
the decoders and their bounds, and `tests/security/test_decoders.py` finds a decoder that the page lacks.
"""

from __future__ import annotations

import decimal
import json
import re
import uuid
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

MOST_BYTES = 64 * 1024 * 1024
"""Bytes that a payload may have after decompression. Honest ones stay far below: the server takes 2 MiB a payload."""
MOST_VALUES = 2_000_000
"""Values that a payload may have, with each list, dict and key counted. Without compression, the 2 MiB that the server
takes never hold as many. They take about 200 MB of memory and half a second."""
DEEPEST = 1000
"""Levels of lists and dicts. Python's own limit is about the same up to Python 3.11, and ten times that in 3.12."""
MOST_ALIKE = 100
"""Members of a set, or keys of a dict, that may share their hash with another one. Python compares each of them with
all others, so 80,000 such members take more than a minute."""


class OutOfBounds(ValueError):
    """The data would need more memory or time than a reader gives to what others have written."""


@dataclass
class Budget:
    """What the decoders that work together may still make."""

    bytes: int = MOST_BYTES
    values: int = MOST_VALUES

    def take_values(self, count: int) -> None:
        """Count values that are about to be made."""
        if count > self.values:
            raise OutOfBounds(f"it holds more than the {self.values:,} values that may still be read")
        self.values -= count

    def take_bytes(self, count: int) -> None:
        """Count bytes that are about to be read."""
        if count > self.bytes:
            raise OutOfBounds(f"it has {count:,} bytes, and {self.bytes:,} may still be read")
        self.bytes -= count


_shared: ContextVar[Budget | None] = ContextVar("ptemporal_read_budget", default=None)


@contextmanager
def read_together(bytes: int = MOST_BYTES, values: int = MOST_VALUES) -> Iterator[None]:
    """Let all decoders that this context calls share one budget: many small bombs are one large bomb.

    Inside another such context, the outer budget stays.
    """
    if _shared.get() is not None:
        yield
        return
    token = _shared.set(Budget(bytes, values))
    try:
        yield
    finally:
        _shared.reset(token)


def budget() -> Budget:
    """Return the budget of this context, or a new one for a payload that is read alone."""
    return _shared.get() or Budget()


def read_json(data: bytes | str, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Return the value of JSON text. Raise `OutOfBounds` before more values than allowed are made.

    Raise another `ValueError` if the text is not JSON, and `RecursionError` if Python can't follow its nesting.
    """
    text = data if isinstance(data, str) else str(data, "utf-8")
    lists_and_dicts = check_json(text)
    value = json.loads(text, object_hook=object_hook)
    if lists_and_dicts > DEEPEST and is_deeper(value, DEEPEST):
        raise OutOfBounds(f"it is nested too deeply to be read: more than {DEEPEST:,} levels")
    return value


def check_json(data: bytes | str) -> int:
    """Raise `OutOfBounds` if JSON text holds too many values. Return how many lists and dicts it has, at most."""
    allowed = budget()
    count, lists_and_dicts = _count_values(data)
    if count > allowed.values:  # perhaps only because of commas in texts
        count, lists_and_dicts = _count_values(_without_strings(data, most_quotes=4 * allowed.values))
    allowed.take_values(count)
    return lists_and_dicts


def _count_values(data: bytes | str) -> tuple[int, int]:
    """Return at most how many values JSON text has, and how many of them are lists and dicts. It takes no parser."""
    if isinstance(data, str):
        lists_and_dicts, others = data.count("[") + data.count("{"), data.count(",") + data.count(":")
    else:
        lists_and_dicts, others = data.count(b"[") + data.count(b"{"), data.count(b",") + data.count(b":")
    return lists_and_dicts + others + 1, lists_and_dicts


_STRING = re.compile(r'"[^"]*"?')


def _without_strings(data: bytes | str, most_quotes: int) -> str:
    """Return JSON text with its strings left out, in a time that grows with its length and no faster."""
    text = data if isinstance(data, str) else str(data, "latin-1")  # the bytes that matter here are ASCII
    text = text.replace("\\\\", "").replace('\\"', "")
    if text.count('"') > most_quotes:
        raise OutOfBounds(f"it holds more than {most_quotes // 2:,} texts")
    return _STRING.sub("", text)


def is_deeper(value: Any, levels: int) -> bool:
    """Return whether lists and dicts are nested in more than this many levels."""
    layer = [value] if isinstance(value, (list, tuple, dict)) else []
    for _ in range(levels):
        if not layer:
            return False
        layer = [
            part
            for whole in layer
            for part in (whole.values() if isinstance(whole, dict) else whole)
            if isinstance(part, (list, tuple, dict))
        ]
    return bool(layer)


# --- hashes ----------------------------------------------------------------------------------------------------------


def refuse_alike(members: Sequence[Hashable]) -> None:
    """Raise `OutOfBounds` if too many different members have the same hash. Call it before a set or dict is made.

    Python's hash of a number, a date or a tuple is no secret. So a sender can choose members that all collide, and
    the time to make the set grows with the square of their number.
    """
    if len(members) - len(set(map(hash, members))) <= MOST_ALIKE:
        return
    by_hash: dict[int, list[Hashable]] = {}
    alike = 0
    for member in members:
        known = by_hash.setdefault(hash(member), [])
        if member in known:
            continue
        if known and (alike := alike + 1) > MOST_ALIKE:
            raise OutOfBounds(f"more than {MOST_ALIKE} of its members have the same hash")
        known.append(member)


def refuse_alike_numbers(value: Any) -> None:
    """Raise `OutOfBounds` if too many numbers, or short lists of numbers, anywhere in the value have the same hash.

    Call it before code that is not ours makes sets or dicts of numbers and tuples, such as a model of pydantic.
    """
    hashes: dict[str, int] = {}
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            waiting.extend(part.keys())
            members = list(part.values())
        elif isinstance(part, (list, tuple, set, frozenset)):
            members = list(part)
        else:
            number = _large_number(part, LONG)
            if number is not None:
                hashes[str(number)] = hash(number)
            continue
        waiting.extend(members)
        numbers = _as_tuple_of_numbers(members)
        if numbers:
            hashes[str(numbers)] = hash(numbers)
    if len(hashes) - len(set(hashes.values())) > MOST_ALIKE:
        raise OutOfBounds(f"more than {MOST_ALIKE} of its numbers have the same hash")


LONGEST_TUPLE = 20
"""Members of a list that code which is not ours may make a tuple of, and put into a set."""
LONG = 19
"""Digits of a number whose hash can be chosen. Shorter whole numbers are their own hash."""
LONG_IN_TUPLE = 10
"""The same, where the number is in a tuple: with two shorter numbers, the hash of the tuple can't be chosen."""


def _as_tuple_of_numbers(members: Sequence[Any]) -> tuple[Hashable, ...]:
    """Return the tuple whose hash a sender could choose by the numbers in it; an empty one for any other list."""
    if not 1 < len(members) <= LONGEST_TUPLE:
        return ()
    if all(_large_number(member, LONG_IN_TUPLE) is None for member in members):
        return ()
    numbers = [_large_number(member, digits=1) for member in members]
    found = tuple(member if number is None else number for member, number in zip(members, numbers, strict=True))
    return () if any(isinstance(member, (list, dict, set)) for member in found) else found


_DECIMAL = re.compile(r"\s*[+-]?[\d_]*\.?[\d_]*(?:[eE][+-]?\d{1,18})?\s*")
_EXACT = decimal.Context(prec=5000, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN, traps=[])


def _large_number(value: Any, digits: int) -> int | decimal.Decimal | None:
    """Return a number whose hash can be chosen, also if it is written as text; None for any other value.

    Numbers of fewer digits don't count, unless they are written with an exponent.
    """
    if type(value) is int:
        return value if abs(value) >= 10 ** (digits - 1) else None
    if not isinstance(value, str) or not 0 < len(value) < 4300:
        return None
    if len(value) < digits and "e" not in value and "E" not in value:
        return None
    if _DECIMAL.fullmatch(value):
        number = _EXACT.create_decimal(value.replace("_", "").strip())
        whole = number.as_tuple().exponent == 0
        return (int(number) if whole else _EXACT.normalize(number)) if number.is_finite() else None
    try:
        return uuid.UUID(value).int if len(value) > 31 else None
    except ValueError:
        return None
