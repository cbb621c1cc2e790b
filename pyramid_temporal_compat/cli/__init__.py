"""`ptemporal-compat`: one file a command, loaded when it is called."""

from __future__ import annotations

import importlib

import click

# command -> (module, attribute, one line of help); a module is imported only when its command runs.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "list": ("pyramid_temporal_compat.cli.list_", "group", "List what an application has."),
    "report": ("pyramid_temporal_compat.cli.report", "command", "Print versions and settings."),
    "server": ("pyramid_temporal_compat.cli.server", "server", "Run an embedded Temporal server with its web UI."),
    "worker": ("pyramid_temporal_compat.cli.worker", "command", "Run the tasks of an application."),
}


class LazyGroup(click.Group):
    """A group that lists its commands without importing them: the client library takes 0.4 s to import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *COMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pyramid-temporal-compat")
def main() -> None:
    """Celery's commands on Temporal, for Pyramid applications."""
