"""Hides secrets in settings that are shown: in reports, in answers of a worker, in log lines and in errors.

There is one list of names, for settings, for fields of dicts, and for `name=value` within a text. The list prefers to
hide too much: a value that is hidden without need can be read in the ini file, a secret that is shown is lost.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any

MASK = "*" * 8

SECRET_PARTS = re.compile(
    "api|auth|bearer|cookie|credential|crypt|database|dburi|dsn|entropy|hmac|jwk|jwt|key|kwargs|license|"
    "login|mnemonic|nonce|pass|pem|pepper|pfx|phrase|pincode|private|profanities|pwd|pword|recovery|salt|saml|secret|"
    "session|sign|token|webhook",
    re.IGNORECASE,
)
"""Parts of names whose values are hidden. They contain the names that Celery's own report hides."""
SECRET_WORDS = re.compile(
    r"args|creds?|csrf|hook|mfa|t?otp|pat|pin|\w*pw|pk|sas|seed|sid|sig|sk|ssn|tok|xsrf", re.IGNORECASE
)
"""Names too short to be searched for within other words."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

_NAME = re.compile(r"""(?<![\w.-])([\w.-]+)["']?\s*[=:]\s*(?!//)""")
"""The text before a value: in a query string, a connection string, JSON, or the repr of an object."""
_VALUE = re.compile(r"""(?P<quote>["'])(?:(?!(?P=quote)).)*(?P=quote)?|[^\s&;,#)}\]]+""", re.DOTALL)
_OPTION = re.compile(r"""(?<!\S)--?([\w-]+)\s+(?=[^\s-])""")
"""The name of an option before its value, in a command line."""
_AUTHORIZATION = re.compile(r"\b(bearer|basic|digest|negotiate|token)(\s+)[^\s,;'\"]+", re.IGNORECASE)
_TOKEN = re.compile(
    r"\b(?:eyJ[\w-]{8,}\.[\w.-]+|(?:AKIA|ASIA)[0-9A-Z]{12,}|AIza[\w-]{30,}|SG\.[\w-]{12,}\.[\w-]+|ya29\.[\w-]{12,}|"
    r"(?:gh[opsur]|github_pat|glpat|[rsp]k|whsec|hf|npm|dop_v1|xox\w|xapp)[_-][\w-]{12,}|"
    r"hooks\.slack\.com/services/[\w/]+)"
)
"""Secrets that show what they are: JSON web tokens, and keys of services that many use."""
_PRIVATE_KEY = re.compile(r"PRIVATE KEY|SECRET-KEY")
_USER_AND_PASSWORD = re.compile(r"://([^:@/\s]*:)?.*@", re.DOTALL)
_PASSWORD_WITHOUT_SCHEME = re.compile(r"(?<![\w.+-])([\w.+-]+:)[^\s@/][^\s@]*@")
_NEXT_URL = re.compile(r"(?<=;)(?=[\w+.-]+://)")
"""The end of one URL in a list of servers."""


def is_secret_name(name: str) -> bool:
    """Return whether a setting or field of this name holds a secret."""
    if SECRET_PARTS.search(name.replace("_", "").replace("-", "")):
        return True
    return any(SECRET_WORDS.fullmatch(word) for word in _WORD.findall(name))


def masked(key: str, value: Any) -> Any:
    """Return the value of `key` as it may be shown: passwords, keys and the secrets within texts are hidden."""
    return _masked(value, hide=is_secret_name(key))


def hidden(value: Any) -> Any:
    """Return the value with everything in it hidden, except whether it is set, and the names of fields."""
    return _masked(value, hide=True)


def masked_text(value: str) -> str:
    """Return the text with each secret in it hidden, as in a URL, a connection string or a header."""
    if _PRIVATE_KEY.search(value):
        return MASK
    shown = "".join(map(_without_password, _urls(value)))
    shown = _AUTHORIZATION.sub(rf"\g<1>\g<2>{MASK}", shown)
    return _masked_values(_TOKEN.sub(MASK, shown))


def _masked(value: Any, *, hide: bool) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Mapping):
        return {
            _masked_key(name): _masked(entry, hide=hide or is_secret_name(str(name))) for name, entry in value.items()
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        entries = [_masked(entry, hide=hide) for entry in value]
        return MASK if hide and entries else tuple(entries) if isinstance(value, tuple) else entries
    if hide or isinstance(value, (bytes, bytearray, memoryview)):
        return MASK
    if isinstance(value, str):
        return masked_text(value)
    return value if isinstance(value, HARMLESS) else _masked_object(value)


HARMLESS = (int, float, complex, datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo, type)
"""Types whose values hold no text of the application's."""


def _masked_object(value: Any) -> Any:
    """Return the object itself, or its repr if that shows a secret."""
    text = repr(value)
    shown = masked_text(text)
    return value if shown == text else shown


def _masked_key(name: Any) -> Any:
    return masked_text(name) if isinstance(name, str) else name


def _masked_values(text: str) -> str:
    """Return the text with the value after each secret name hidden."""
    shown, end = [], 0
    names = sorted([*_NAME.finditer(text), *_OPTION.finditer(text)], key=lambda name: name.start())
    for name in names:
        value = _VALUE.match(text, name.end())
        if value is None or name.start() < end or not is_secret_name(name[1]):
            continue
        quote = value["quote"] or ""
        shown.append(f"{text[end : name.end()]}{quote}{MASK}{quote}")
        end = value.end()
    return "".join([*shown, text[end:]])


def _without_password(url: str) -> str:
    """Return the URL, or `user:password@host`, with its password hidden.

    A password may hold the very characters that should end it. So everything up to the last @ is hidden, host or not.
    """
    return _PASSWORD_WITHOUT_SCHEME.sub(rf"\g<1>{MASK}@", _USER_AND_PASSWORD.sub(rf"://\g<1>{MASK}@", url))


def _urls(value: str) -> list[str]:
    """Return the URLs in `value`. A URL without a password has no clear end: its end could be part of a password."""
    found = [""]
    for part in _NEXT_URL.split(value):
        if "@" in found[-1]:
            found.append(part)
        else:
            found[-1] += part
    return found
