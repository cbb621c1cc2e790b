"""The command line, `ptemporal-compat`: one file for each command, which is imported when the command runs."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from ..client.process_exit import exit_after_threads
from ..exceptions import ImproperlyConfigured
from .common import Common, importing, ini_variables

if TYPE_CHECKING:
    from ..interfaces import AppLike

# command -> (module, attribute, one line of help)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "beat": ("pyramid_temporal_compat.cli.beat", "command", "Make the server's schedules equal to the declared ones."),
    "board": ("pyramid_temporal_compat.cli.board", "command", "Serve the board on this machine."),
    "call": ("pyramid_temporal_compat.cli.call", "command", "Send a call of a task."),
    "control": ("pyramid_temporal_compat.cli.remote", "control", "Give running workers an order."),
    "dev": ("pyramid_temporal_compat.cli.dev", "command", "Run server, site and worker together, for development."),
    "events": ("pyramid_temporal_compat.cli.events", "command", "Print each change of a task as a line."),
    "exporter": ("pyramid_temporal_compat.cli.exporter", "command", "Serve the metrics of queues, outbox, schedules."),
    "graph": ("pyramid_temporal_compat.cli.graph", "command", "Draw the state of a canvas."),
    "health": ("pyramid_temporal_compat.cli.health", "command", "Ask a worker of this machine whether it is well."),
    "inspect": ("pyramid_temporal_compat.cli.remote", "inspect", "Ask running workers a question."),
    "list": ("pyramid_temporal_compat.cli.list_", "group", "List what an application has."),
    "migrate": ("pyramid_temporal_compat.cli.migrate", "group", "Move an application from Celery."),
    "outbox": ("pyramid_temporal_compat.cli.outbox", "group", "Manage the messages that wait to be dispatched."),
    "purge": ("pyramid_temporal_compat.cli.purge", "command", "End every task that waits in the application's queues."),
    "queues": ("pyramid_temporal_compat.cli.queues", "command", "Show what waits in each queue, and who polls it."),
    "relay": ("pyramid_temporal_compat.cli.relay", "command", "Send what waits in the outbox."),
    "report": ("pyramid_temporal_compat.cli.report", "command", "Print versions and settings."),
    "result": ("pyramid_temporal_compat.cli.result", "command", "Print the result of a task."),
    "schedule": ("pyramid_temporal_compat.cli.schedule", "group", "Look at, pause and fire the server's schedules."),
    "server": ("pyramid_temporal_compat.cli.server", "server", "Run an embedded Temporal server with its web UI."),
    "shell": ("pyramid_temporal_compat.cli.shell", "command", "Start a Python shell with the application's names."),
    "status": ("pyramid_temporal_compat.cli.remote", "status", "List the workers that answer."),
    "tasks": ("pyramid_temporal_compat.cli.tasks", "group", "Find, show, retry, cancel and pause tasks."),
    "worker": ("pyramid_temporal_compat.cli.worker", "command", "Run the tasks of an application."),
    "workflow": ("pyramid_temporal_compat.cli.workflow", "group", "Start, follow and end workflows, and replay them."),
}
REFUSED = ("amqp", "logtool", "multi", "upgrade")
"""Commands of Celery's that say what to use. They are not listed."""


CLIENT_LIBRARY = "temporalio.bridge"
"""A module that is imported together with the client library, which may then have threads."""


PLUGINS = "pyramid_temporal_compat.cli.plugins"


def imported(module: str, attribute: str) -> Any:
    """Import a module of a command, and return what it has under this name."""
    with importing():
        return getattr(importlib.import_module(module), attribute)


class LazyGroup(click.Group):
    """Lists the commands without importing them, because the client library takes 0.4 s to import.

    It also has the commands that other packages add. It looks for these only after its own.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command: click.Command | None
        if cmd_name in COMMANDS:
            module, attribute, _ = COMMANDS[cmd_name]
            command = imported(module, attribute)
        elif cmd_name in REFUSED:
            command = imported("pyramid_temporal_compat.cli.refused", "refused_command")(cmd_name)
        else:
            command = imported(PLUGINS, "plugin_command")(cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in sorted(COMMANDS)])
        if others := imported(PLUGINS, "plugin_lines")(COMMANDS):
            with formatter.section("Commands of other packages"):
                formatter.write_dl(others)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [
            CompletionItem(name, help=text) for name, (_, _, text) in COMMANDS.items() if name.startswith(incomplete)
        ]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]


def main() -> None:
    """Run the command line of this process. The console script calls this."""
    hide_pkg_resources_warning()
    try:
        group()
    except SystemExit as exiting:
        if CLIENT_LIBRARY in sys.modules and isinstance(exiting.code, int):
            exit_after_threads(exiting.code)
        raise


def hide_pkg_resources_warning() -> None:
    """Hide the warning that Pyramid causes when it imports `pkg_resources` from setuptools 80.9 or 81.

    Every Pyramid up to 2.1 imports `pkg_resources`, so neither we nor the user can avoid the warning by an upgrade.
    The same warning is shown where it names the application's own modules. The filter goes to the end of the list,
    so `-W` and `PYTHONWARNINGS` decide first.
    """
    message = "pkg_resources is deprecated as an API"
    warnings.filterwarnings("ignore", message, UserWarning, module=r"pyramid\.", append=True)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-A", "--app", envvar="APP", help="The app, as module or module:name.")
@click.option("--ini", "config", metavar="INI", help="The ini file of the Pyramid application.")
@click.option("--ini-var", metavar="KEY=VALUE", multiple=True, help="The value of %(KEY)s in the ini; may be repeated.")
@click.option("-b", "--broker", envvar="BROKER_URL", help="The Temporal server, as host:port.")
@click.option("--config", "config_module", envvar="CONFIG_MODULE", metavar="MODULE", help="The module of settings.")
@click.option("--workdir", type=click.Path(exists=True, file_okay=False), help="The directory to work in.")
@click.option("-C", "--no-color", is_flag=True, default=None, envvar="NO_COLOR", help="No colours.")
@click.option("-q", "--quiet", is_flag=True, help="No banner.")
@click.option("--result-backend", envvar="RESULT_BACKEND", hidden=True)
@click.option("--loader", envvar="LOADER", hidden=True)
@click.option("--skip-checks", is_flag=True, envvar="SKIP_CHECKS", hidden=True)
@click.version_option(package_name="pyramid-temporal-compat")
@click.pass_context
def group(
    ctx: click.Context,
    app: str | None,
    config: str | None,
    ini_var: tuple[str, ...],
    broker: str | None,
    config_module: str | None,
    workdir: str | None,
    no_color: bool | None,
    quiet: bool,
    result_backend: str | None,
    loader: str | None,
    skip_checks: bool,
) -> None:
    """Celery's commands on Temporal, for Pyramid applications."""
    if loader:
        raise click.UsageError(f"--loader {loader}: loader classes are not supported; use --config or an ini file")
    for name, value in (("result-backend", result_backend), ("skip-checks", skip_checks)):
        if value:
            click.echo(f"--{name}: {NO_EFFECT[name]}", err=True)
    if workdir:
        os.chdir(workdir)
    if broker:
        use_broker(broker, named_as(ctx, "broker"))
    if config_module:
        os.environ["CELERY_CONFIG_MODULE"] = config_module
    common = ctx.ensure_object(Common)
    common.name_app(app)
    common.config = config or common.config
    common.ini_variables |= ini_variables(ini_var)
    common.quiet = quiet or common.quiet
    common.no_color = no_color or common.no_color


def named_as(ctx: click.Context, parameter: str) -> str:
    """Return what the user wrote to give a parameter: its option, or an environment variable."""
    (found,) = [one for one in ctx.command.params if one.name == parameter]
    if ctx.get_parameter_source(parameter) is click.core.ParameterSource.ENVIRONMENT:
        return str(found.envvar)
    return found.opts[0]


def use_broker(url: str, named: str) -> None:
    """Use the broker of the command line, which has to be a Temporal server, or a URL of a broker that Celery had."""
    from ..settings.connection import set_broker  # the settings: 0.1 s, which `--help` does not need

    try:
        set_broker(url, named)
    except ImproperlyConfigured as error:
        raise click.UsageError(str(error)) from None


NO_EFFECT = {
    "result-backend": "has no effect; Temporal keeps the results, in each task's workflow",
    "skip-checks": "has no effect; the checks are Django's",
}


def run(argv: Sequence[str], app: AppLike) -> Any:
    """Run a command line for this app, in this process. Return the exit code."""
    return group.main(
        list(argv), "ptemporal-compat", obj=Common(app), standalone_mode=False, auto_envvar_prefix="CELERY"
    )
