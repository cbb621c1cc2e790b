"""The reference page of settings, made from the table."""

from __future__ import annotations

from collections.abc import Iterable

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
END = "<!-- end of what is made -->\n"


def refreshed(page: str) -> str:
    """`page` with the part between its two marks made anew."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no place for the tables: it needs the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def tables() -> str:
    """The tables of all settings, in Markdown."""
    parts = ["## Ours\n\n", _own_table(OWN), "\n## Celery's\n"]
    parts.append(
        "\nEvery setting of Celery 5.7 can be set and read. One that *acts* does here what it does there. "
        "One that does not is kept, and a worker names it once in its banner with the sentence given here.\n"
    )
    for title, settings in GROUPS:
        parts += [f"\n### {title}\n\n", _celery_table(settings)]
    return "".join(parts)


def _own_table(settings: Iterable[Setting]) -> str:
    rows = [f"| `{s.name}` | {s.kind.name} | {_default(s)} | {_cell(s.help)} |" for s in settings]
    return "\n".join(["| name | takes | default | |", "| --- | --- | --- | --- |", *rows]) + "\n"


def _celery_table(settings: Iterable[Setting]) -> str:
    rows = [
        f"| `{s.name}` | {', '.join(f'`{old}`' for old in s.old)} | {s.kind.name} | {_default(s)} | {_meaning(s)} |"
        for s in settings
    ]
    return "\n".join(["| name | old name | takes | default | here |", "| --- | --- | --- | --- | --- |", *rows]) + "\n"


def _meaning(setting: Setting) -> str:
    if setting.effect is Effect.ACTS:
        return f"acts. {_cell(setting.help)}"
    return f"{setting.effect.value}. {_cell(setting.help)} **{_cell(setting.sentence)}**"


def _default(setting: Setting) -> str:
    return "" if setting.default is None else f"`{_cell(str(setting.default) or repr(setting.default))}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
