"""The files for containers in the guide: they can be read, and name commands and options that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from pyramid_temporal_compat.cli import group

FOLDER = Path(__file__).parent.parent / "migration_guide" / "production"


def commands() -> Iterator[list[str]]:
    """Yield each of our commands that the files start, as its words."""
    for name in ("compose.yml", "kubernetes.yml"):
        for document in yaml.safe_load_all((FOLDER / name).read_text()):
            yield from found_in(document)
    for line in re.findall(r"^CMD (\[.*\])$", (FOLDER / "Dockerfile").read_text(), re.MULTILINE):
        yield json.loads(line)


def found_in(part: Any) -> Iterator[list[str]]:
    if isinstance(part, dict):
        command = part.get("command")
        words = command.split() if isinstance(command, str) else [*(command or ()), *(part.get("args") or ())]
        if words[:1] == ["ptemporal-compat"]:
            yield words
        if isinstance(part.get("test"), list):
            yield part["test"][1:]
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from found_in(each)


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_and_option_exists(words: list[str]) -> None:
    assert words[0] == "ptemporal-compat"
    command = group.get_command(click.Context(group), words[1])
    assert command is not None
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words[2:] if word.startswith("-")} <= known


def test_a_worker_has_longer_to_stop_than_its_tasks() -> None:
    deployment = next(yaml.safe_load_all((FOLDER / "kubernetes.yml").read_text()))
    pod = deployment["spec"]["template"]["spec"]
    args = pod["containers"][0]["args"]
    assert pod["terminationGracePeriodSeconds"] > int(args[args.index("--graceful-timeout") + 1])
