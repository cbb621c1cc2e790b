"""Exceptions cross the wire as their own class where they can, and never fail to."""

from __future__ import annotations

import dataclasses
import functools
import sys
import traceback
from datetime import date
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import exc as sqlalchemy_exc

from pyramid_temporal_compat import exceptions
from pyramid_temporal_compat.exceptions import SecurityError, UnpickleableExceptionWrapper
from pyramid_temporal_compat.payload.error_classes import stand_in
from pyramid_temporal_compat.payload.errors import RemoteTraceback, fitting, from_wire, remote_traceback, to_wire
from pyramid_temporal_compat.payload.types import dumps, loads


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        if cause is not None:
            raise error from cause
        raise error
    except BaseException as caught:
        return caught


def travelled(error: BaseException) -> Any:
    return from_wire(loads(dumps(to_wire(raised(error)))))


class Plain(Exception):
    pass


class Formats(Exception):
    def __init__(self, code: int, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class FormatsOne(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class KeywordOnly(Exception):
    def __init__(self, *, code: int) -> None:
        self.code = code

    def __str__(self) -> str:
        return f"code {self.code}"


class Reduces(Exception):
    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self._code = code

    def __reduce__(self) -> Any:
        return type(self), (self.args[0], self._code)


class ReducesByKeyword(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__()
        self.code = code

    def __reduce__(self) -> Any:
        return functools.partial(type(self), code=self.code), ()


class ReducesToFunction(Exception):
    def __reduce__(self) -> Any:
        return print, ("called",)


class HoldsObject(Exception):
    def __init__(self, response: Any) -> None:
        super().__init__("failed")
        self.response = response
        self.day = date(2026, 1, 2)

    def __str__(self) -> str:
        return f"answered {self.response.status}"


class Response:
    status = 503


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int


class Outer:
    class Inner(ValueError):
        pass


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__

    def __reduce__(self) -> Any:
        raise RuntimeError("no pickle")


class BadRepr:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class NoMore(Exception):
    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)


KEPT = [
    Plain("a", 1, date(2026, 1, 2), b"\xff", {1}, (1, ("b", None)), [2]),
    Plain(),
    Outer.Inner("x"),
    Formats(5, "bad"),
    FormatsOne(5),
    KeywordOnly(code=3),
    Reduces("text", 7),
    ReducesByKeyword(code=4),
    Frozen(3),
    NoMore("x"),
    KeyError("missing"),
    OSError(2, "No such file", "a.txt"),
    FileNotFoundError(2, "No such file", "a.txt"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    ImportError("no", name="thing", path="p"),
    StopIteration(3),
    SystemExit(4),
    SyntaxError("bad", ("f.py", 1, 2, "x =", 1, 3)),
    ZeroDivisionError("division by zero"),
    exceptions.Retry("again", exc="x", when=3),
    exceptions.MaxRetriesExceededError("over", task_args=[1], task_kwargs={"a": 2}),
    exceptions.Reject("why", requeue=True),
    exceptions.NotRegistered("app.add"),
    sqlalchemy_exc.NoResultFound("No row"),
]


@pytest.mark.parametrize("error", KEPT, ids=lambda error: type(error).__name__)
def test_error_comes_back_as_its_own_class_with_all_it_says(error: BaseException) -> None:
    back = travelled(error)
    assert isinstance(back, type(error))
    assert type(back).__qualname__ == type(error).__qualname__
    assert back.args == error.args
    assert str(back) == str(error)
    state = {name: value for name, value in vars(back).items() if name != "remote_traceback"}
    assert state == vars(error)


def test_attributes_that_c_keeps_come_back() -> None:
    error = travelled(OSError(2, "No such file", "a.txt"))
    assert (error.errno, error.filename) == (2, "a.txt")
    assert travelled(ImportError("no", name="thing")).name == "thing"
    assert travelled(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")).object == b"\xff"
    assert travelled(SystemExit(4)).code == 4


def test_error_of_a_database_brings_its_origin() -> None:
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection, pytest.raises(sqlalchemy_exc.OperationalError) as caught:
        connection.execute(sqlalchemy.text("select * from nowhere where id = :id"), {"id": 3})
    engine.dispose()
    back = travelled(caught.value)
    assert type(back) is sqlalchemy_exc.OperationalError
    assert str(back) == str(caught.value)
    assert type(back.orig) is type(caught.value.orig)
    assert (back.statement, back.params) == ("select * from nowhere where id = ?", (3,))


def test_argument_that_cannot_travel_comes_as_its_repr() -> None:
    item = object()
    assert travelled(Plain(item, 1)).args == (repr(item), 1)


def test_error_that_needs_what_could_not_be_sent_keeps_its_text_and_its_class() -> None:
    back = travelled(HoldsObject(Response()))
    assert isinstance(back, HoldsObject)
    assert type(back).__name__ == "HoldsObject"
    assert str(back) == "answered 503"
    assert back.day == date(2026, 1, 2)


def test_class_that_is_not_here_is_stood_in_for_by_one_of_its_name() -> None:
    wire = to_wire(Formats(5, "bad")) | {"module": "not.installed", "type": "Place.Formats"}
    first, second = from_wire(wire), from_wire(wire)
    assert type(first) is type(second)
    assert (type(first).__module__, type(first).__name__) == ("not.installed", "Formats")
    assert isinstance(first, Exception)
    assert (first.args, str(first), first.code) == (("5: bad",), "5: bad", 5)


def test_local_class_is_stood_in_for() -> None:
    class Local(Exception):
        def __str__(self) -> str:
            return "local text"

    back = travelled(Local(1))
    assert type(back) is not Local
    assert type(back).__name__ == "Local"
    assert (back.args, str(back)) == ((1,), "local text")


# --- what an attacker may write ---


@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "system"), ("builtins", "eval"), ("builtins", "type"), ("subprocess", "Popen"), ("pathlib", "Path")],
)
def test_what_is_no_exception_class_is_never_called(module: str, name: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    wire = {"module": module, "type": name, "args": [{"value": "touch here"}], "text": "x"}
    back = from_wire(wire)
    assert type(back) is SecurityError
    assert f"{module}.{name}, which is no exception class" in str(back)
    assert not list(tmp_path.iterdir())


def test_nothing_is_imported_for_an_error(tmp_path, monkeypatch) -> None:
    package = tmp_path / "inuse"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "drop_tables.py").write_text("class Error(Exception): pass\nraise SystemExit\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    __import__("inuse")
    try:
        for module in ("inuse.drop_tables", "inuse.__main__", "antigravity", "unittest.__main__"):
            back = from_wire({"module": module, "type": "Error", "args": [{"value": 1}], "text": "1"})
            assert (type(back).__name__, back.args) == ("Error", (1,))
            assert module not in sys.modules
    finally:
        sys.modules.pop("inuse", None)


def test_an_error_within_errors_within_errors_comes_back_as_far_as_errors_go() -> None:
    for inner, outer in (
        ("exceptions", lambda wire: {"module": "builtins", "type": "ValueError", "exceptions": [wire]}),
        ("cause", lambda wire: {"module": "builtins", "type": "ValueError", "cause": wire}),
        ("args", lambda wire: {"module": "builtins", "type": "ValueError", "args": [{"error": wire}]}),
        ("tuple", lambda wire: {"module": "builtins", "type": "ValueError", "args": [{"tuple": [{"error": wire}]}]}),
    ):
        wire: dict[str, Any] = {"module": "builtins", "type": "ValueError"}
        for _ in range(900):
            wire = outer(wire)
        assert isinstance(from_wire(wire), ValueError), inner


def test_reduce_that_names_a_function_is_not_followed(capsys) -> None:
    assert type(travelled(ReducesToFunction("x"))) is ReducesToFunction
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "wire",
    [
        {},
        {"module": None, "type": 3, "args": "x"},
        {"module": "a\0b", "type": "c\0d", "args": [1, {}], "state": [], "cause": 3, "notes": 1, "exceptions": [1]},
        {"module": "builtins", "type": "ValueError.__init__.x", "kwargs": 1},
        {"module": "builtins", "type": "ExceptionGroup", "args": [{"value": 1}], "exceptions": []},
    ],
)
def test_rubbish_still_gives_an_exception(wire: dict[str, Any]) -> None:
    assert isinstance(from_wire(wire), Exception)


# --- traceback, chain, notes, groups ---


def test_remote_traceback_is_kept_and_printed() -> None:
    back = travelled(Plain("boom"))
    text = remote_traceback(back)
    assert text == back.remote_traceback
    assert text.startswith("Traceback (most recent call last):\n")
    assert "in raised" in text
    printed = "".join(traceback.format_exception(raised(back)))
    assert text in printed
    assert "RemoteTraceback" in printed
    assert remote_traceback(Plain()) is None


def test_cause_and_context_come_back() -> None:
    cause = raised(Plain("inner"), KeyError("deep"))
    back = from_wire(to_wire(raised(Formats(1, "x"), cause)))
    assert type(back.__cause__) is Plain
    assert type(back.__cause__.__cause__) is KeyError
    assert type(back.__cause__.__cause__.__cause__) is RemoteTraceback
    try:
        try:
            raise Plain("first")
        except Plain:
            raise KeyError("second")  # noqa: B904
    except KeyError as error:
        back = from_wire(to_wire(error))
    assert type(back.__context__) is Plain
    assert type(back.__cause__) is RemoteTraceback


def test_error_that_is_sent_on_keeps_the_first_traceback_and_grows_no_chain() -> None:
    once = travelled(Plain("boom"))
    twice = travelled(once)
    assert remote_traceback(once) in remote_traceback(twice)
    assert type(twice.__cause__) is RemoteTraceback
    assert twice.__cause__.__cause__ is None


def test_error_among_the_arguments_stays_an_error() -> None:
    back = travelled(exceptions.Retry("again", exc=FormatsOne(3), when=5))
    assert type(back.exc) is FormatsOne
    assert back.exc.code == 3


def test_error_that_is_its_own_argument_and_cause_ends() -> None:
    error = Plain()
    error.args = (error,)
    other = Plain("b")
    error.__context__, other.__context__ = other, error
    assert isinstance(travelled(error), Plain)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="errors have notes since Python 3.11")
def test_notes_come_back() -> None:
    error = Plain("x")
    error.add_note("look here")
    assert travelled(error).__notes__ == ["look here"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python has exception groups since 3.11")
def test_group_comes_back_with_its_members() -> None:
    back = travelled(ExceptionGroup("several", [Formats(1, "a"), ExceptionGroup("more", [KeyError("b")])]))  # noqa: F821
    assert type(back) is ExceptionGroup  # noqa: F821
    assert str(back) == "several (2 sub-exceptions)"
    assert [type(member).__name__ for member in back.exceptions] == ["Formats", "ExceptionGroup"]
    assert back.exceptions[0].code == 1
    assert type(back.exceptions[1].exceptions[0]) is KeyError


# --- never raises ---


def test_error_with_broken_text_repr_and_pickling_travels() -> None:
    back = travelled(Unprintable(BadRepr()))
    assert isinstance(back, Unprintable)
    assert back.args == ("<unprintable BadRepr>",)
    assert str(back) == "<unprintable Unprintable>"


def test_text_that_utf8_does_not_have_travels() -> None:
    assert str(travelled(Plain("a\udcff"))) == "a\\udcff"


def test_huge_error_is_cut_to_what_a_server_takes() -> None:
    error = Plain("x" * 3_000_000, [1] * 1_000_000)
    error.more = ["y" * 15_000] * 1
    wire = to_wire(error)
    assert len(dumps(wire)) < 200_000
    assert "characters left out" in str(from_wire(wire))
    for _ in range(200):
        setattr(error, f"field{_}", "z" * 15_000)
    assert len(dumps(to_wire(error))) < 200_000
    assert type(from_wire(to_wire(error))) is Plain


def test_deep_recursion_travels() -> None:
    def down() -> None:
        down()

    with pytest.raises(RecursionError) as caught:
        down()
    assert type(travelled(caught.value)) is RecursionError


def test_error_whose_class_can_not_be_called_with_its_arguments_is_also_what_celery_gives_for_it() -> None:
    back = travelled(Formats(5, "bad"))
    assert isinstance(back, Formats)
    assert isinstance(back, UnpickleableExceptionWrapper)
    assert (back.exc_cls_name, back.exc_args) == ("Formats", ("5: bad",))


class ForgetsWhatItNeeds(Exception):
    def __init__(self, code: int, bar: str | None = None) -> None:
        if bar is None:
            raise TypeError("bar must be given")
        super().__init__(code)


def test_an_error_whose_class_takes_its_arguments_and_then_refuses_them_is_what_celery_gives_for_it() -> None:
    back = travelled(ForgetsWhatItNeeds(5, "bar"))
    assert isinstance(back, ForgetsWhatItNeeds)
    assert isinstance(back, UnpickleableExceptionWrapper)
    assert (back.exc_cls_name, back.exc_args) == ("ForgetsWhatItNeeds", (5,))


def test_a_traceback_that_python_fails_to_write_once_is_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    write, tries = traceback.format_exception, []

    def fails_once(*args: Any) -> list[str]:
        tries.append(args)
        if len(tries) == 1:
            raise SystemError("AST constructor recursion depth mismatch")
        return write(*args)

    monkeypatch.setattr(traceback, "format_exception", fails_once)
    assert "ValueError: no" in to_wire(raised(ValueError("no")))["traceback"]


@pytest.mark.parametrize("limit", [300, 700, 1500, 100_000])
def test_an_error_is_written_in_the_room_that_there_is(limit: int) -> None:
    try:
        raise ValueError("long " * 200, "\N{SNOWMAN}") from KeyError("cause " * 200)
    except ValueError as error:
        written = to_wire(error)
    fitted = fitting(written, limit)
    assert len(dumps(fitted)) <= limit
    rebuilt = from_wire(fitted)
    assert type(rebuilt) is ValueError
    assert "long long" in str(rebuilt)
    assert ("cause" in fitted) == (limit > 5000)


@pytest.mark.parametrize("module", ["m" * 1000, "a\nTraceback", "no such-module", ""])
@pytest.mark.parametrize("name", ["E" * 1_000_000, "bad\nname", "Outer.<locals>.Error"])
def test_a_stand_in_has_no_name_that_fills_memory_or_fakes_a_line(module: str, name: str) -> None:
    made = type(from_wire({"module": module, "type": name, "text": "no"}))
    assert made.__module__ == stand_in.__module__
    assert made.__name__ == ("Error" if name.endswith(".Error") else "RemoteError")
