"""The types of values that a setting can have, and how each is read from the text of an ini file."""

from __future__ import annotations

import datetime
import json
import math
import re
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

TRUE = frozenset({"true", "yes", "on", "1", "t", "y"})
FALSE = frozenset({"false", "no", "off", "0", "f", "n"})
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s/:@]+):(\d+)")
LISTENER = re.compile(r"(?:(\[[0-9a-fA-F:.]+\]|[^\s/:@]+):)?(\d{1,5})")
LAST_PORT = 65535


class Reason(ValueError):
    """Says what is wrong with a value, where the phrase that says what a setting takes does not."""


@dataclass(frozen=True)
class Kind:
    """A type of value: its short name, a phrase that says what it takes, and the function that reads it.

    `parse` takes text or a Python value and raises `ValueError` for what it can't read.
    """

    name: str
    takes: str
    parse: Callable[[Any], Any]


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(value)
    return value.strip()


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    raise ValueError(value)


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(value)
    return int(value)


def _count(value: Any) -> int:
    number = _integer(value)
    if number < 1:
        raise ValueError(value)
    return number


def _whole(value: Any) -> int:
    number = _integer(value)
    if number < 0:
        raise ValueError(value)
    return number


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(value)
    return float(value)


def _seconds(value: Any) -> float:
    if isinstance(value, datetime.timedelta):
        number = value.total_seconds()
    elif isinstance(value, str) and (parts := DURATION.findall(value.strip().lower().replace(" ", ""))):
        if "".join(amount + unit for amount, unit in parts) != value.strip().lower().replace(" ", ""):
            raise ValueError(value)
        number = sum(float(amount) * UNITS[unit] for amount, unit in parts)
    else:
        number = _number(value)
    if not math.isfinite(number) or number < 0:
        raise ValueError(value)
    return number


def _positive_seconds(value: Any) -> float:
    number = _seconds(value)
    if number == 0:
        raise ValueError(value)
    return number


def _words(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            value = json.loads(value)
        else:
            return tuple(word for word in re.split(r"[\s,]+", value) if word)
    if not isinstance(value, (list, tuple, set, frozenset)) or not all(isinstance(word, str) for word in value):
        raise ValueError(value)
    return tuple(value)


def _mapping(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        value = json.loads(value)
    if not isinstance(value, dict):
        raise ValueError(value)
    return value


def _anything(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    # JSON where it looks like JSON: a route, an annotation or a queue may also be given as a plain or dotted name.
    if value.lstrip()[:1] in ("{", "[", '"'):
        return json.loads(value)
    return value.strip()


def _words_or_json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) and value.lstrip()[:1] in ("{", "[") else _words(value)


def _concurrency(value: Any) -> int | str:
    return "auto" if isinstance(value, str) and value.strip().lower() == "auto" else _count(value)


def _pollers(value: Any) -> int | str:
    found = _concurrency(value)
    if isinstance(found, int) and found < 2:
        raise Reason("a worker needs 2 for its workflows")
    return found


def _up_to_a_second(value: Any) -> float:
    number = _seconds(value)
    if number > 1:
        raise ValueError(value)
    return number


def _fraction(value: Any) -> float:
    found = _number(value)
    if not 0 < found <= 1:
        raise ValueError(value)
    return found


def _zone(value: Any) -> Any:
    if isinstance(value, datetime.tzinfo):
        return value
    name = _text(value)
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, OSError):
        raise ValueError(value) from None
    return name


TRACE_ID = "{trace_id}"


def _trace_url(value: Any) -> str:
    found = _text(value)
    if not found.startswith(("https://", "http://")) or TRACE_ID not in found:
        raise ValueError(value)
    return found


def _address(value: Any) -> str:
    found = ADDRESS.fullmatch(_text(value))
    if not found:
        raise ValueError(value)
    if not 0 < int(found[2]) <= LAST_PORT:
        raise Reason(f"{found[2]} is no port; ports are 1 to {LAST_PORT}")
    return found[0]


def _listener(value: Any) -> str:
    found = LISTENER.fullmatch(str(value).strip())
    if not found or isinstance(value, bool):
        raise ValueError(value)
    if int(found[2]) > LAST_PORT:
        raise Reason(f"{found[2]} is no port; ports are 1 to {LAST_PORT}, and 0 for a free one")
    return found[0]


def host_and_port(listener: str) -> tuple[str, int]:
    """Return the two parts of a `listener`. The host is empty for every address of the machine."""
    host, _, port = listener.rpartition(":")
    return host.strip("[]"), int(port)


SCHEME = "temporal://"


def address_in(broker: Any) -> str | None:
    """Return the server of a `broker_url` that is `host:port` or `temporal://host:port`, or None for other brokers."""
    if not isinstance(broker, str):
        return None
    url = broker.strip()
    if url.lower().startswith(SCHEME):
        return _address(url[len(SCHEME) :].rstrip("/"))
    return _address(url) if ADDRESS.fullmatch(url) else None


def names_server(broker: Any) -> bool:
    try:
        return address_in(broker) is not None
    except ValueError:
        return True  # which says so itself


text = Kind("text", "a text", _text)
boolean = Kind("boolean", "true or false", _boolean)
integer = Kind("integer", "a whole number", _integer)
count = Kind("count", "a whole number from 1 on", _count)
whole = Kind("count", "a whole number from 0 on", _whole)
number = Kind("number", "a number", _number)
seconds = Kind("seconds", "seconds from 0 on, as 30, 1.5, 500ms, 5m, 1h or 2d", _seconds)
positive_seconds = Kind("seconds", "seconds above 0, as 30, 1.5, 500ms, 5m, 1h or 2d", _positive_seconds)
words = Kind("words", "words with spaces, commas or line ends between them", _words)
mapping = Kind("mapping", 'a JSON object, as {"name": "value"}', _mapping)
anything = Kind("any", "JSON, or a plain text", _anything)
words_or_json = Kind("words or JSON", "words, or JSON", _words_or_json)
concurrency = Kind("count or auto", "a whole number from 1 on, or auto", _concurrency)
pollers = Kind("count or auto", "a whole number from 2 on, or auto", _pollers)
up_to_a_second = Kind("seconds", "seconds from 0 to 1, as 0.25 or 250ms", _up_to_a_second)
fraction = Kind("number", "a number above 0, and at most 1", _fraction)
zone = Kind("time zone", "the name of a time zone, as Europe/Berlin or UTC", _zone)
listener = Kind("port", "a port, as 8080, or host:port, as 127.0.0.1:8080", _listener)
trace_url = Kind("URL", f"a URL with {TRACE_ID} in it, as https://traces.example/{TRACE_ID}", _trace_url)
address = Kind("address", "host:port, as localhost:7233, without a scheme", _address)


def choice(*options: str) -> Kind:
    """Return the type of a value that is one of a few words."""

    def parse(value: Any) -> str:
        word = _text(value).lower()
        if word not in options:
            raise ValueError(value)
        return word

    return Kind(" or ".join(options), "one of " + ", ".join(options), parse)
