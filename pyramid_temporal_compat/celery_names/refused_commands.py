"""The commands of Celery's command line that are refused here, each with a sentence that says what to use."""

from __future__ import annotations

REFUSED_COMMANDS: dict[str, str] = {
    "amqp": (
        "There is no broker, so there are no exchanges and bindings to declare: `ptemporal-compat list queues` shows "
        "the application's queues, `ptemporal-compat purge` empties them, and `temporal task-queue describe` shows who "
        "polls a queue."
    ),
    "logtool": (
        "The server keeps what became of each task, so no log file has to be searched: `ptemporal-compat workflow find "
        "--status failed` lists failed tasks, and `ptemporal-compat result ID --traceback` shows an error."
    ),
    "multi": (
        "Workers stay in the foreground: start each one with `ptemporal-compat worker -n NAME` from a service manager, "
        "such as a systemd unit `worker@.service` with an instance for each name."
    ),
    "upgrade": (
        "Settings are read by Celery's old names and by its new ones, so a file of settings needs no upgrade; "
        "`ptemporal-compat migrate rewrite` makes the edits that a move from Celery needs."
    ),
    "graph bootsteps": (
        "A worker has no boot steps to draw: `ptemporal-compat inspect stats` shows what a worker is made of."
    ),
    "graph workers": (
        "Workers are listed, not drawn: `ptemporal-compat status` shows the workers, and `ptemporal-compat inspect "
        "stats` their pools."
    ),
    "migrate": (
        "Messages do not move from broker to broker, because there is no broker here: `ptemporal-compat migrate bridge "
        "app.ini --from URL` carries the messages of Celery's broker into Temporal."
    ),
    "events": (
        "There is no curses screen: `ptemporal-compat events --dump` prints the changes of tasks as lines, and "
        "the board, pyramid_temporal_compat.board, shows tasks and workers as pages, as Temporal's web UI does."
    ),
    "events --camera": (
        "There are no snapshots to take, because the server keeps the state of every task: read it with "
        "`ptemporal-compat events --dump --json`, or by AsyncResult."
    ),
}
