"""Make the tables of the reference page `settings.md` from the declared settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from .celery_names import BEAT, DAEMON, GENERAL, RESULT, SECURITY, TASK, WORKER
from .celery_parts import BROKERS, STORES
from .declare import Effect, Setting
from .ptemporal_settings import OWN

GROUPS: tuple[tuple[str, tuple[Setting, ...]], ...] = (
    ("General", GENERAL),
    ("Tasks", TASK),
    ("Results", RESULT),
    ("Workers", WORKER),
    ("Schedules", BEAT),
    ("Message signing", SECURITY),
    ("Daemons", DAEMON),
    ("Brokers and events", BROKERS),
    ("Result stores", STORES),
)

BEGIN = "<!-- made by `python -m pyramid_temporal_compat.settings migration_guide/settings.md` -->\n"
END = "<!-- end of the generated part -->\n"

ACTS = """
## Celery's settings that act here

These do what Celery's documentation says.
"""
EQUIVALENT = """
## Celery's settings that need no value here

The purpose of each of these settings is met in another way. A value is accepted and can be read in `app.conf`. It
changes nothing, unless the last column says so. A worker prints the last column at its start for each of these settings
that the application sets.
"""
REFUSED = """
## Celery's settings that are refused

What these settings ask for does not exist here. A value is accepted, so that a configuration need not be cleaned before
a move, and can be read in `app.conf`. It changes nothing, unless the table says so. A worker prints the reason at its
start for each of these settings that the application sets. `pyramid_temporal_compat.unsupported()` has the
same reasons, under `conf.<setting>`.
"""

SHARED = 3
"""A reason that holds for so many refused settings of a group gets a table of its own."""


def refreshed(page: str) -> str:
    """Return `page` with new tables between its two marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no place for the tables: it needs the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def tables() -> str:
    """Return the tables of all settings, in Markdown: ours first, then Celery's by what they do here."""
    return "".join(
        [
            "## Our own settings\n\n",
            _table(("name", "meaning", "takes", "default"), (_acting_row(setting) for setting in OWN)),
            ACTS,
            *_groups(Effect.ACTS, ("name, old names", "meaning", "takes", "default"), _acting_row),
            EQUIVALENT,
            *_groups(Effect.EQUIVALENT, ("name, old names", "in Celery", "here"), _replaced_row),
            REFUSED,
            *_refused(),
        ]
    )


def _groups(effect: Effect, head: tuple[str, ...], row: Callable[[Setting], tuple[str, ...]]) -> Iterator[str]:
    for title, settings in GROUPS:
        if found := [setting for setting in settings if setting.effect is effect]:
            yield f"\n### {title}\n\n{_table(head, (row(setting) for setting in found))}"


def _refused() -> Iterator[str]:
    """For each group: a table of settings, and one table for each reason that many settings share."""
    for title, settings in GROUPS:
        by_reason: dict[str, list[Setting]] = {}
        for setting in settings:
            if setting.effect is Effect.REFUSED:
                by_reason.setdefault(setting.sentence, []).append(setting)
        if by_reason:
            yield f"\n### {title}\n"
        if single := [setting for found in by_reason.values() if len(found) < SHARED for setting in found]:
            yield "\n" + _table(
                ("name, old names", "in Celery", "here"), (_replaced_row(setting) for setting in single)
            )
        for reason, found in by_reason.items():
            if len(found) >= SHARED:
                rows = ((_names(setting), setting.help) for setting in found)
                yield f"\n{reason}\n\n{_table(('name, old names', 'in Celery'), rows)}"


def _acting_row(setting: Setting) -> tuple[str, ...]:
    return _names(setting), setting.help, setting.kind.name, _default(setting)


def _replaced_row(setting: Setting) -> tuple[str, ...]:
    return _names(setting), setting.help, setting.sentence


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _names(setting: Setting) -> str:
    return "<br>".join(f"`{name}`" for name in (setting.name, *setting.old))


def _default(setting: Setting) -> str:
    return "" if setting.default is None else f"`{str(setting.default) or repr(setting.default)}`"
