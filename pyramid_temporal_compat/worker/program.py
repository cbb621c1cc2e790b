"""A worker as a program: `app.Worker(...)`, with Celery's options, signals and logging.

The signals in their order:

celeryd_init            before the settings are read for this worker: a receiver may change them
import_modules          the modules of tasks
worker_init
setup_logging           and after_setup_logger, after_setup_task_logger
celeryd_after_setup     the queues are chosen; a receiver may choose others
worker_before_create_process, worker_process_init
worker_ready
worker_shutting_down    a signal, or `stop()`
worker_process_shutdown
worker_shutdown
"""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import gc
import logging
import os
import platform
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from temporalio.client import Client

from .. import signals
from ..celery_names.lists import split_names
from ..celery_names.nodenames import default_nodename, host_format, node_format
from ..celery_names.user_options import own_options
from ..client.process_exit import exit_at_once
from ..control.waiting_tasks import purge
from ..exceptions import ImproperlyConfigured
from ..log import mlevel
from ..settings import connection
from ..settings.conf import SettingIgnored
from ..version import __version__
from . import celery_options
from .daemon import become, pidfile, refuse_pickles_as_root, release, set_umask
from .pages import Pages
from .pools.pool_choice import POOLS
from .schedules import StartOfSchedules
from .task_modules import load_tasks
from .worker import Worker

if TYPE_CHECKING:
    from ..interfaces import AppLike
    from .pools.pool import Pool

log = logging.getLogger(__name__)


class Program(Worker):
    """The class of `app.Worker(**options)`. `start()` runs the worker in this thread until it ends."""

    def __init__(self, app: AppLike, hostname: str | None = None, **options: Any) -> None:
        self.app = app
        self.hostname = default_nodename(host_format(hostname or ""))
        self.options = options
        signals.celeryd_init.send(sender=self.hostname, instance=self, conf=app.conf, options=options)
        # First of all, so that the log and every file that a task module opens belong to the worker's user.
        set_umask(options.get("umask"))
        become(options.get("uid"), options.get("gid"))
        users = {option.name for option in own_options(app, "worker")}
        self.notices = list(
            celery_options.notices({name: value for name, value in options.items() if name not in users})
        )
        self.loglevel = mlevel(options.get("loglevel"))
        self.pidfile = node_format(options.get("pidfile") or "", self.hostname) or None
        self.quiet = bool(options.get("quiet"))
        self._restart = False
        load_tasks(app, split_names(options.get("include")))
        if app.native is not None:
            app.native.load()
        app.set_current()
        app.set_default()
        app.finalize()
        app.amqp.queues.select(split_names(options.get("queues")))
        app.amqp.queues.deselect(split_names(options.get("exclude_queues")))
        super().__init__(
            app,
            queues=chosen_queues(app, self.hostname, bool(options.get("queues"))),
            hostname=self.hostname,
            pool=options.get("pool") or options.get("pool_cls"),
            **{name: options[name] for name in PASSED_ON if options.get(name) is not None},
        )
        self._pages = Pages(self, options.get("health_port"), options.get("metrics_port"))
        self._schedules = StartOfSchedules(app, asked=bool(options.get("beat")))
        signals.worker_init.send(sender=self)
        self._own_logging = self.setup_logging()
        if ready := options.get("ready_callback"):
            self.on_ready = lambda: ready(self.tasks.parts.consumer)

    @property
    def pool_cls(self) -> type[Pool]:
        return POOLS[self.pool_name].pool_class()

    # --- running -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Run in this thread until SIGTERM, SIGINT or SIGQUIT. Afterwards `exitcode` says how the worker ended."""
        refuse_pickles_as_root(self.app.conf.accept_content)
        with pidfile(self.pidfile):
            signals.celeryd_after_setup.send(sender=self.hostname, instance=self, conf=self.app.conf)
            for notice in self.notices:
                log.warning("%s", notice)
            self._redirect()
            self._announce_when_ready()
            collect_garbage_seldom()
            share_one_heap()
            self.on_connected = self._connected
            try:
                self.start_pool()
                self._pages.open()
                faulthandler.register(signal.SIGUSR1, file=sys.__stderr__ or 2)  # prints the stack of each thread
                asyncio.run(self._main())
            finally:
                self.pool.kill()
                self._pages.close()
                signals.worker_shutdown.send(sender=self)
        if self._restart:
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

    async def _main(self) -> None:
        loop = asyncio.get_running_loop()
        if not sys.stdout or not sys.stdout.isatty():  # in a terminal, SIGHUP means that the terminal was closed
            loop.add_signal_handler(signal.SIGHUP, self._begin_restart)
        async with self._pages.watching():
            await self._run_with_signals()
        if self.abandoned or self.tasks.stop_now.is_set():
            self._leave()

    def _leave(self) -> None:
        # If the server does not answer, or tasks were cut short, threads are left that would hold up the end.
        self.pool.kill()
        signals.worker_shutdown.send(sender=self)
        release(self.pidfile)
        exit_at_once(self.exitcode)

    def _begin_restart(self) -> None:
        log.warning("SIGHUP: the worker restarts when the %d running tasks have ended", self.running_count)
        self.tell_shutting_down("SIGHUP", "Warm", 0)
        self._restart = True
        self.stop()

    def meaning_of(self, name: str) -> str:
        return os.environ.get("REMAP_SIGTERM") or name if name == "SIGTERM" else name  # Celery's variable

    def terminate(self) -> None:
        """End at once; Celery's name for it."""
        self.exitcode = 1
        self.stop_now()

    async def _connected(self, client: Client) -> None:
        if self.options.get("purge"):
            await self._purge(client)
        await self._schedules.connected(client)

    async def _purge(self, client: Client) -> None:
        count = await purge(client, self.queues)
        if count:
            print(f"purge: Erased {count} {'message' if count == 1 else 'messages'} from the queue.", flush=True)

    # --- log and banner --------------------------------------------------------------------------------

    def setup_logging(self) -> Any:
        """Set up logging as the options say. Return the receivers of `setup_logging` that did it instead."""
        no_color = self.options.get("no_color")
        logfile = self.options.get("logfile")
        try:
            return self.app.log.setup(
                self.loglevel,
                logfile,
                redirect_stdouts=False,
                colorize=None if no_color is None else not no_color,
                hostname=self.hostname,
            )
        except OSError as error:
            raise ImproperlyConfigured(f"-f {logfile} can't be written: {error.strerror}") from None

    def _redirect(self) -> None:
        conf = self.app.conf
        wanted = self.options.get("redirect_stdouts")
        if (conf.worker_redirect_stdouts if wanted is None else wanted) and self._own_logging == []:
            level = self.options.get("redirect_stdouts_level") or conf.worker_redirect_stdouts_level
            self.app.log.redirect_stdouts(level)

    def _announce_when_ready(self) -> None:
        if self.quiet:
            return
        then: Callable[[], None] = self.on_ready

        def announce() -> None:
            print(self.banner(), file=sys.__stdout__, flush=True)
            then()

        self.on_ready = announce

    def banner(self) -> str:
        app = self.app
        settings = connection(app.conf)
        size = str(self.concurrency)
        if self.autoscale:
            size = f"{{min={self.autoscale[1]}, max={self.autoscale[0]}}}"
        lines: list[tuple[str, Any]] = [
            ("server", f"{settings.address} (namespace {settings.namespace})"),
            ("app", f"{app.main or '__main__'}:{id(app):#x}"),
            ("concurrency", f"{size} ({self.pool_name})"),
            ("queues", ", ".join(self.queues)),
            ("platform", platform.platform()),
            ("pid", os.getpid()),
        ]
        names = app.tasks.own() if app.native is None else app.native.tasks()
        tasks = listed(names) or "  (none: set ptemporal.include)"
        native = listed(app.native.lines()) if app.native is not None else ""
        table = "\n".join(f"  {key + ':':<13}{value}" for key, value in lines)
        ignored = "".join(f"  . {line}\n" for line in settings_without_effect(app.conf.notices))
        return (
            f"\n{self.hostname} - pyramid-temporal-compat {__version__}\n\n{table}\n\n"
            + (f"[settings without effect]\n{ignored}\n" if ignored else "")
            + (f"[workflows and activities]\n{native}\n\n" if native else "")
            + f"[tasks]\n{tasks}\n"
        )


COLLECT_AFTER = 10_000
"""New objects after which Python looks for garbage, in place of its default."""
DEFAULT_THRESHOLDS = (700, 2000)
"""Python's defaults: up to 3.12, and from 3.13 on."""


def collect_garbage_seldom() -> None:
    """Leave the application out of garbage collections, and have Python collect seldom, unless the application chose.

    A canvas of thousands of tasks makes many objects at a time, and nearly all of them are in use. With Python's
    defaults, collections took a tenth of the time of a group of 10,000, and each stopped the event loop for up to
    0.3 s.
    """
    gc.freeze()
    if gc.get_threshold()[0] in DEFAULT_THRESHOLDS:
        gc.set_threshold(COLLECT_AFTER)


M_ARENA_MAX = -8
"""The number of a parameter of glibc's `mallopt`: how many heaps the threads have at most."""
MALLOC_SETTINGS = ("GLIBC_TUNABLES", "MALLOC_")
"""How the names of the environment variables begin that set up `malloc`."""


def share_one_heap() -> None:
    """Have all threads share one heap of glibc, unless the environment has settings for `malloc`.

    By default, glibc makes a heap for each thread, and a heap keeps most of what its thread has freed. With one heap, a
    worker with 4 threads takes 4 MB less after some tasks, and 10 MB less after large ones. Tasks do not take longer:
    Python itself allocates small objects, and runs one thread at a time.
    """
    if sys.platform != "linux" or any(name.startswith(MALLOC_SETTINGS) for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # only glibc has it
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)


def listed(names: Sequence[str]) -> str:
    return "\n".join(f"  . {name}" for name in names)


PASSED_ON = (
    "activities",
    "autoscale",
    "concurrency",
    "graceful_timeout",
    "max_memory_per_child",
    "max_tasks_per_child",
    "soft_time_limit",
    "time_limit",
    "to_celery",
    "workflows",
)


def settings_without_effect(notices: Sequence[SettingIgnored]) -> list[str]:
    """Return a line for each reason why settings have no effect, with the names of these settings."""
    names: dict[str, list[str]] = {}
    for notice in notices:
        names.setdefault(notice.sentence, []).append(notice.name)
    return [f"{', '.join(found)}: {sentence}" for sentence, found in names.items()]


def chosen_queues(app: AppLike, hostname: str, by_name: bool = False) -> list[str]:
    """Return the queues to serve.

    :param by_name: the command line names them, so that hand-written workflows and activities add none.
    """
    queues = list(app.amqp.queues.consume_from)
    if app.native is not None and not by_name:
        queues = app.native.queues(queues)
    if app.conf.worker_direct:
        queues.append(f"{hostname}.dq2")  # Celery's name for a worker's own queue
    return queues
