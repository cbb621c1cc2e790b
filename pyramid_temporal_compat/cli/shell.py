"""`ptemporal-compat shell`: a Python shell with the application, its tasks, and a request with its transaction."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from .. import canvas
from ..worker.task_modules import load_tasks
from .app_command import CeleryCommand
from .ask_server import load
from .common import Common
from .errors import failing_in_one_line, loading

if TYPE_CHECKING:
    from ..interfaces import AppLike

CANVAS = ("chain", "chord", "chunks", "group", "signature", "subtask", "xmap", "xstarmap")
NO_GREENLETS = "pools of greenlets are refused, so a shell with {name} would run tasks as no worker does; leave it out"


def plain(names: dict[str, Any]) -> None:
    import code

    with contextlib.suppress(ImportError):  # Windows has no readline
        import readline
        import rlcompleter

        readline.set_completer(rlcompleter.Completer(names).complete)
        readline.parse_and_bind("tab: complete")
    code.interact(local=names, banner="", exitmsg="")


def ipython(names: dict[str, Any]) -> None:
    from IPython import start_ipython

    start_ipython(argv=["--no-banner"], user_ns=names)


def bpython(names: dict[str, Any]) -> None:
    from bpython import embed

    embed(names)


def ptpython(names: dict[str, Any]) -> None:
    from ptpython.repl import embed

    embed(names, names)


SHELLS: dict[str, tuple[str, Callable[[dict[str, Any]], None]]] = {
    "ipython": ("IPython", ipython),
    "bpython": ("bpython", bpython),
    "ptpython": ("ptpython", ptpython),
    "python": ("code", plain),
}
"""Each shell with its module, the most liked first."""


@click.command(
    cls=CeleryCommand,
    help="Start a Python shell with the names `app`, `celery` and `Task`, with the names of the canvas, and with each "
    "task by its function's name. A Pyramid application also gets a `request` and its transaction `tm`, which has "
    "begun: what is written and what is called in the shell counts with `tm.commit()`. The shell is the first of "
    "IPython, bpython and ptpython that is installed, else Python's own.",
)
@click.option("-I", "--ipython", "shell", flag_value="ipython", help="IPython.")
@click.option("-B", "--bpython", "shell", flag_value="bpython", help="bpython.")
@click.option("--ptpython", "shell", flag_value="ptpython", help="ptpython.")
@click.option("--python", "shell", flag_value="python", help="Python's own shell.")
@click.option("-T", "--without-tasks", is_flag=True, help="Do not add the tasks.")
@click.option("--eventlet", is_flag=True, hidden=True)
@click.option("--gevent", is_flag=True, hidden=True)
@click.pass_obj
def command(common: Common, /, shell: str | None, without_tasks: bool, **greenlets: bool) -> None:
    with failing_in_one_line():
        for name in [name for name, given in greenlets.items() if given]:
            raise click.UsageError(NO_GREENLETS.format(name=name))
        run = chosen_shell(shell)
        app = load(common)
        with loading(common.named):
            load_tasks(app)
        with request_and_transaction(app) as more:
            names = {**names_of(app), **({} if without_tasks else tasks_of(app)), **more}
            if not common.quiet:
                click.echo("\n".join(banner(app, more, 0 if without_tasks else len(app.tasks.own()))), err=True)
            run(names)
        app.close()


def chosen_shell(name: str | None) -> Callable[[dict[str, Any]], None]:
    """Return what runs the shell of this name, or the first that is installed. Raise if it is not installed."""
    installed = [each for each, (module, _) in SHELLS.items() if importlib.util.find_spec(module)]
    if name is not None and name not in installed:
        raise click.UsageError(
            f"--{name}: {name} is not installed (pip install {name}); there is {', '.join(installed)}"
        )
    return SHELLS[name or installed[0]][1]


def names_of(app: AppLike) -> dict[str, Any]:
    """Return the names of the application and the canvas, as Celery's shell has them."""
    return {"app": app, "celery": app, "Task": app.Task, **{name: getattr(canvas, name) for name in CANVAS}}


def tasks_of(app: AppLike) -> dict[str, Any]:
    """Return the application's tasks by the names of their functions."""
    return {app.tasks[name].__name__: app.tasks[name] for name in app.tasks.own()}


@contextlib.contextmanager
def request_and_transaction(app: AppLike) -> Iterator[dict[str, Any]]:
    """Yield `request`, `registry` and `tm` of a Pyramid application. At the end, abort what was not committed.

    An application without Pyramid gets no names, and its calls leave at once.
    """
    if app.registry is None:
        yield {}
        return
    from ..transactions.pyramid_request import attempt  # imports Pyramid and SQLAlchemy, which `--help` does not need

    with attempt(app.registry) as run:
        yield {"request": run.request, "registry": app.registry, "tm": run.request.tm}


def banner(app: AppLike, more: dict[str, Any], tasks: int) -> Iterator[str]:
    yield f"app: {app!r}; {tasks} tasks by their names; {', '.join(('Task', *CANVAS))}"
    if more:
        yield (
            "request: its transaction has begun. Writes and calls such as add.delay() count with tm.commit(); "
            "then tm.begin() begins another. The end of the shell aborts."
        )
