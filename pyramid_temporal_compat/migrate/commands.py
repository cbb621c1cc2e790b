"""Findings about Celery's commands outside Python: Procfiles, unit files, Dockerfiles, compose files, scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from ..celery_names.refused_commands import REFUSED_COMMANDS
from .findings import Edit, Finding, SourceFile
from .packaging import installed_sentence, python_image
from .rules import RULES, Fix, Severity

CELERY = re.compile(
    r"(?<![\w./$-])(?P<path>[\w./${}-]*/)?(?P<name>celery(?:-?3(?:\.\d+)?)?|pceleryd|celeryd|celerybeat)(?![\w.:/=-])"
)
OLD_PROGRAMS = frozenset({"pceleryd", "celeryd", "celerybeat"})
"""Programs of Celery 3 that are no program here."""
INSTALLS = re.compile(r"\b(?:pip[\d.]*|uv|apt|apt-get|dnf|yum|apk)\s+(?:pip\s+)?(?:-\S+\s+)*(?:install|add)\b")
LONGEST_DETAIL = 120
WORD = re.compile(r"[^\s\"',\[\]]+")
COMMANDS = frozenset(
    {
        "amqp",
        "beat",
        "call",
        "control",
        "events",
        "flower",
        "graph",
        "inspect",
        "list",
        "logtool",
        "migrate",
        "multi",
        "purge",
        "report",
        "result",
        "shell",
        "status",
        "upgrade",
        "worker",
    }
)
WITH_VALUE = frozenset({"-A", "--app", "-b", "--broker", "--config", "--workdir", "--result-backend", "--loader", "-l"})
WRAPPERS = frozenset(
    {"&&", "||", ";", "|", "!", "-", "--", "-c", "-m", "do", "dumb-init", "ddtrace-run", "env", "exec", "nice", "nohup"}
    | {"opentelemetry-instrument", "run", "run-program", "sudo", "then", "time", "tini"}
    | {"CMD", "ENTRYPOINT", "RUN", "command"}
)
"""Words that may stand before a command without changing what it is."""
USER_SWITCHES = frozenset({"gosu", "su-exec", "chpst", "setuidgid", "-u", "--user"})
WITHOUT_EFFECT = {
    "-D": "--detach", "--detach": "--detach", "-E": "-E", "--task-events": "-E", "--without-gossip": "--without-gossip",
    "--without-mingle": "--without-mingle", "--without-heartbeat": "--without-heartbeat", "-O": "-O",
    "--statedb": "--statedb", "--prefetch-multiplier": "--prefetch-multiplier",
}  # fmt: skip
VARIABLES = re.compile(
    r"\b(CELERY_(?:LOADER|BROKER_URL|RESULT_BACKEND|APP|BIN|OPTS)|CELERYD_(?:NODES|OPTS|MULTI|PID_FILE)|CELERYBEAT_OPTS)\b"
    r"(?=\s*[=:]|\s+\S)"
)
PYTHON = re.compile(r"\S*python[\d.]*\s+-m\s+\Z")


BY_HAND = (
    "The command can't be changed here: another program may be what reads it, such as the application's own command "
    "line. Start `ptemporal-compat worker app.ini` in its place, with the same options."
)


class Command(NamedTuple):
    """One command line of Celery's in a text."""

    start: int
    name: re.Match[str]
    words: tuple[re.Match[str], ...]
    """The words after `celery`."""
    at: int
    """Which of the words is the command."""
    is_list: bool
    """Whether the command is written as a list of quoted words."""

    @property
    def command(self) -> str:
        return self.words[self.at].group()

    @property
    def options(self) -> list[str]:
        return [word.group() for word in self.words]


def findings(file: SourceFile) -> Iterator[Finding]:
    for command in commands_in(file.text):
        yield from _of_command(file, command)
    for found in VARIABLES.finditer(file.text):
        if not _is_comment(file.text, found.start()):
            yield Finding(RULES["PTC606"], file.path, file.line_at(found.start()), found.group())
    yield from _flower(file)
    yield from _installed(file)
    yield from python_image(file)


def commands_in(text: str) -> Iterator[Command]:
    for name in CELERY.finditer(text):
        if _is_comment(text, name.start()):
            continue
        is_list = text[name.end() : name.end() + 1] in ("'", '"')
        words = tuple(WORD.finditer(text, name.end(), _end_of_command(text, name.end(), is_list=is_list)))
        at = _command_at(words)
        if at is not None:
            yield Command(name.start(), name, words, at, is_list)


def _is_comment(text: str, at: int) -> bool:
    start = text.rfind("\n", 0, at) + 1
    return text[start:at].lstrip().startswith(("#", ";", "//"))


def _end_of_command(text: str, at: int, *, is_list: bool) -> int:
    """Return where a command ends: with its list of words, or with its line, which a backslash carries on."""
    if is_list:
        return end if (end := text.find("]", at)) >= 0 else len(text)
    while (end := text.find("\n", at)) >= 0 and text[at:end].rstrip(" \r").endswith("\\"):
        at = end + 1
    line_end = len(text) if end < 0 else end
    stops = [found for mark in ("&&", "||", ";", "|") if (found := text.find(mark, at, line_end)) >= 0]
    return min([line_end, *stops])


def _command_at(words: tuple[re.Match[str], ...]) -> int | None:
    skip = False
    for position, word in enumerate(words):
        if skip:
            skip = False
        elif word.group() in COMMANDS:
            return position
        elif word.group().startswith("-"):
            skip = word.group() in WITH_VALUE
        elif word.group() not in ("\\",):
            return None
    return None


def _of_command(file: SourceFile, found: Command) -> Iterator[Finding]:
    line = file.line_at(found.start)
    written = file.text[found.name.start("name") : found.words[-1].end()].split()
    detail = " ".join([found.name["name"], *found.options] if found.is_list else written)[:LONGEST_DETAIL]
    if found.command == "worker":
        fix, edits = _worker_edits(file.text, found)
        sentence = "" if edits else BY_HAND
        yield Finding(RULES["PTC601"], file.path, line, detail, sentence, fix, edits)
        if {"-B", "--beat"} & set(found.options):
            sentence = "`-B` works: the worker makes the server's schedules equal to the declared ones when it starts."
            yield Finding(RULES["PTC602"], file.path, line, "-B", sentence, edits=())
        if any(each.startswith("--scheduler") for each in found.options):
            yield Finding(RULES["PTC503"], file.path, line, "--scheduler")
    elif found.command == "beat":
        fix, edits = _beat_edits(file.text, found)
        yield Finding(RULES["PTC602"], file.path, line, detail, fix=fix, edits=edits)
        if any(each.startswith(("-S", "--scheduler")) for each in found.options):
            yield Finding(RULES["PTC503"], file.path, line, "--scheduler")
    elif found.command == "flower" or (found.command == "events" and not {"-d", "--dump"} & set(found.options)):
        yield Finding(RULES["PTC603"], file.path, line, detail)
    elif found.command in REFUSED_COMMANDS and found.command != "events":
        sentence = REFUSED_COMMANDS[found.command]
        yield Finding(RULES["PTC604"], file.path, line, detail, sentence, severity_here=Severity.CHANGES)
    else:
        rule = RULES["PTC504" if found.command == "call" else "PTC604"]
        name = _our_name(file.text, found)
        fix, edits = (Fix.NONE, ()) if name is None else (Fix.SAFE, (name,))
        yield Finding(rule, file.path, line, detail, "" if edits else BY_HAND, fix, edits)
    if found.command in ("worker", "beat"):
        for option in found.options:
            if named := WITHOUT_EFFECT.get(option.partition("=")[0]):
                yield Finding(RULES["PTC605"], file.path, line, named)


def _flower(file: SourceFile) -> Iterator[Finding]:
    for found in re.finditer(r"image:\s*[\"']?(\S*flower\S*|\S*celery-exporter\S*)", file.text):
        yield Finding(RULES["PTC603"], file.path, file.line_at(found.start()), found.group(1))


def _installed(file: SourceFile) -> Iterator[Finding]:
    """Packages of Celery's that a command installs, such as `RUN pip install celery`."""
    for found in INSTALLS.finditer(file.text):
        if _is_comment(file.text, found.start()):
            continue
        for word in WORD.finditer(file.text, found.end(), _end_of_command(file.text, found.end(), is_list=False)):
            if sentence := installed_sentence(word.group()):
                yield Finding(RULES["PTC701"], file.path, file.line_at(word.start()), word.group(), sentence)


# --- edits ------------------------------------------------------------------------------------------


def _our_name(text: str, found: Command) -> Edit | None:
    """Return the edit that names our command. None if only a person knows what to write there.

    That is so for Celery 3's own programs, such as celeryd, and if the application's program has a command `celery`.
    """
    if found.name["name"] in OLD_PROGRAMS:
        return None
    before = text[: found.start]
    path = found.name["path"] or ""
    line = before[before.rfind("\n") + 1 :]
    if module := PYTHON.search(line):
        python = module.group().split()[0]
        folder = python.rpartition("/")[0]
        return Edit(
            found.start - len(module.group()),
            found.name.end(),
            f"{folder}/ptemporal-compat" if folder else "ptemporal-compat",
        )
    words = [word.group() for word in WORD.finditer(line)]
    if words and words[-1] == "-m":  # a program that runs a module, such as hupper
        return Edit(found.start, found.name.end(), "pyramid_temporal_compat.cli")
    if words and not _may_precede(words):
        return None
    return Edit(found.start, found.name.end(), f"{path}ptemporal-compat")


def _may_precede(words: list[str]) -> bool:
    last = words[-1]
    if last in WRAPPERS or last.endswith(("=", ":", "\\", "(", "{")) or re.match(r"[A-Za-z_]\w*=", last):
        return True
    return last.startswith("@") or (len(words) > 1 and words[-2] in USER_SWITCHES)


def _worker_edits(text: str, found: Command) -> tuple[Fix, tuple[Edit, ...]]:
    name = _our_name(text, found)
    if name is None:
        return Fix.NONE, ()
    if not any(each.startswith("--ini") and not each.startswith("--ini-var") for each in found.options):
        return Fix.SAFE, (name,)
    if found.is_list:
        return Fix.NONE, ()
    # The application of the ini has its app already: -A would name it a second time.
    edits = [name, *_without_app(text, found)]
    for word in found.words:
        if word.group() == "--ini":
            edits.append(Edit(word.start(), _next_word(text, word.end()), ""))
        elif word.group().startswith("--ini="):
            edits.append(Edit(word.start(), word.start() + len("--ini="), ""))
    return Fix.UNSAFE, tuple(edits)


def _without_app(text: str, found: Command) -> Iterator[Edit]:
    for position, word in enumerate(found.words):
        option = word.group()
        if option in ("-A", "--app") and position + 1 < len(found.words):
            yield Edit(word.start(), _next_word(text, found.words[position + 1].end()), "")
        elif option.startswith("--app="):
            yield Edit(word.start(), _next_word(text, word.end()), "")


def _next_word(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t":
        at += 1
    return at


def _beat_edits(text: str, found: Command) -> tuple[Fix, tuple[Edit, ...]]:
    name = _our_name(text, found)
    if name is None:
        return Fix.NONE, ()
    word = found.words[found.at]
    edits = [name]
    if found.is_list:
        quote = text[word.end()]
        edits.append(Edit(word.end() + 1, word.end() + 1, f", {quote}--watch=60{quote}"))
    else:
        edits.append(Edit(word.end(), word.end(), " --watch 60"))
        for position, option in enumerate(found.words):
            before = option.start() - (1 if text[option.start() - 1 : option.start()] == " " else 0)
            if option.group() in ("-S", "--scheduler") and position + 1 < len(found.words):
                edits.append(Edit(before, found.words[position + 1].end(), ""))
            elif option.group().startswith("--scheduler=") or option.group() == "--detach":
                edits.append(Edit(before, option.end(), ""))
    return Fix.UNSAFE, tuple(edits)
