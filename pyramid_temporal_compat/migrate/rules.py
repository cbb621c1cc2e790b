"""The table of rules: what each finds, what happens here, what to do, and how long that takes.

`migration_guide/rules.md` is made from this table. The hundreds of a code say what the rule is about: 1 imports,
2 glue, 3 task classes, 4 apps and settings, 5 periodic tasks, 6 commands, 7 packages and tests, 8 behaviour at run time,
9 the live broker.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Severity(enum.Enum):
    BLOCKS = "blocks"
    """The application does not run here until this is changed."""
    CHANGES = "changes behaviour"
    """The application runs, and does something else than before."""
    ADVICE = "advice"
    """The application runs as before; something can go, or has to be renamed."""
    NOTHING = "nothing to do"
    """Looks like a difference, and is none."""


ORDER = {severity: position for position, severity in enumerate(Severity)}


class Fix(enum.Enum):
    NONE = "none"
    SAFE = "safe"
    """The program does the same after the edit."""
    UNSAFE = "unsafe"
    """The edit is right in most programs; a person has to look at it."""


@dataclass(frozen=True)
class Rule:
    code: str
    severity: Severity
    title: str
    finds: str
    here: str
    todo: str
    example: str
    fix: Fix = Fix.NONE
    """The best that `rewrite` can do. A finding says what it can do at that place."""
    minutes: int = 0
    """How long a person needs for one finding that `rewrite` leaves."""
    once: bool = False
    """Whether one change mends all places with the same detail, such as one property for all of `celery.request`."""


BLOCKS, CHANGES, ADVICE, NOTHING = Severity

# A sentence on one line reads better than one in two parts.
# ruff: noqa: E501
TABLE: tuple[Rule, ...] = (
    # --- imports ---
    Rule(
        "PTC101",
        ADVICE,
        "A name of Celery that this package has",
        "An import of celery, kombu or billiard, or a use of such a module, whose names all exist here.",
        "The same object has another module here.",
        "Let `rewrite` change the import, or call `install_as_celery()` and change none.",
        "from celery import shared_task",
        Fix.SAFE,
        1,
    ),
    Rule(
        "PTC102",
        BLOCKS,
        "A name of Celery that is refused",
        "An import or a use of a public name of Celery that `unsupported()` lists.",
        "The name is refused here.",
        "The finding has the reason, and what to use instead.",
        "from celery.bootsteps import StartStopStep",
        minutes=30,
    ),
    Rule(
        "PTC103",
        BLOCKS,
        "A name of Celery that does not exist here",
        "An import of an internal name of Celery, which this package neither has nor lists as refused.",
        "The import fails here.",
        "Take the name from Python's library, or copy the few lines that you need into the application.",
        "from celery.app.task import extract_exec_options",
        minutes=20,
    ),
    Rule(
        "PTC104",
        ADVICE,
        "Messages of the application's own through kombu",
        "A use of kombu's connections, producers, consumers, mixins or pools.",
        "Tasks need no broker here. The application's own messages still do.",
        "Keep kombu for them: leave these imports, keep kombu in the requirements, and with `install_as_celery()` say "
        "`kombu=False`. If the messages are only tasks for Celery, call the tasks instead.",
        "from kombu.mixins import ConsumerMixin",
        minutes=5,
    ),
    Rule(
        "PTC105",
        ADVICE,
        "Celery's dotted name in a text",
        "A text such as the target of `mock.patch`, an argument of `import_module`, or an `import-hook:` section.",
        "The name exists here under another path, and texts are not found by an import.",
        "Let `rewrite --unsafe` put the new path there, or keep the text and call `install_as_celery()`.",
        'mock.patch("celery.app.task.Task.retry")',
        Fix.UNSAFE,
        3,
    ),
    Rule(
        "PTC106",
        BLOCKS,
        "An extension of Celery",
        "An import of a package that plugs into Celery: a scheduler, a result backend, a batch or singleton task.",
        "The package imports the real Celery and uses its inside.",
        "The finding says what does the same here. With `install_as_celery()`, try the package: some work.",
        "from redbeat import RedBeatSchedulerEntry",
        minutes=60,
    ),
    # --- glue ---
    Rule(
        "PTC201",
        ADVICE,
        "A task that is sent by an after-commit hook",
        "`addAfterCommitHook` around `delay` or `apply_async`.",
        "`delay()` waits for the commit by itself, and knows savepoints. The hook still works.",
        "Call the task directly. The fix is unsafe if an argument is an attribute, such as `item.id`: "
        "it is then read before the flush, so flush the session first.",
        "request.tm.get().addAfterCommitHook(lambda ok: ok and remind.delay(user_id))",
        Fix.SAFE,
        5,
    ),
    Rule(
        "PTC202",
        ADVICE,
        "A receiver that makes the request of a worker",
        "A receiver of `worker_init`, `worker_process_init`, `user_preload_options` or `setup_logging` that loads the "
        "Pyramid application, sets `app.request`, or sets up the logging of the ini.",
        "`ptemporal-compat worker app.ini` loads the application and its logging. `self.pyramid_request` is a fresh "
        "request for each task.",
        "Delete the receiver after its users take `self.pyramid_request`, or `get_current_request()`. See the page on "
        "glue.",
        "@signals.worker_init.connect\ndef boot(sender, **_):\n    sender.app.request = sender.app.bootstrap()",
        Fix.UNSAFE,
        10,
    ),
    Rule(
        "PTC203",
        ADVICE,
        "A receiver that ends a task's transaction",
        "A receiver of a task signal that only commits or aborts.",
        "The worker commits when the task returns, and aborts when it raises.",
        "Delete the receiver.",
        "@signals.task_success.connect\ndef commit(sender, **_):\n    sender.app.request.tm.commit()",
        Fix.UNSAFE,
        5,
    ),
    Rule(
        "PTC204",
        ADVICE,
        "A base class that gives tasks a request or a transaction",
        "A subclass of `Task` whose methods make a Pyramid request, run the function in a transaction, or hold tasks "
        "back until the commit.",
        "All of this comes with the package, and `self.pyramid_request` is there without the class.",
        "Delete the class and the places that name it. If the class does more than that, delete its glue by hand.",
        "class PyramidTask(Task):\n    def __call__(self, *args, **kwargs):\n        with prepare() as env: ...",
        Fix.UNSAFE,
        20,
    ),
    Rule(
        "PTC205",
        ADVICE,
        "A request that a task makes itself",
        "`app.request_context()`, `prepare()`, `bootstrap()` or `app.request` inside a task.",
        "The glue's request works, with a session and a transaction of its own, beside the task's.",
        "Use `self.pyramid_request` in a bound task, or change one line of the glue as the page on glue shows.",
        "with celery.request_context() as request: ...",
        minutes=5,
        once=True,
    ),
    Rule(
        "PTC206",
        NOTHING,
        "A block of `request.tm` inside a task",
        "`with request.tm:`, `transaction.manager` or a `commit()` inside a task.",
        "The block is a unit of work, as before. It commits at its end, and the tasks that it calls start then.",
        "Nothing has to change. Without the block, the task commits when it returns.",
        "with request.tm:\n    purge(request)",
    ),
    Rule(
        "PTC207",
        ADVICE,
        "pyramid_celery",
        "An import or an include of pyramid_celery.",
        "The package reads the same sections of the ini, and gives tasks a request with a transaction.",
        "Include `pyramid_temporal_compat` instead. `celery_app` becomes `current_app`, and `configure_celery` goes.",
        'config.include("pyramid_celery")',
        Fix.UNSAFE,
        5,
    ),
    Rule(
        "PTC208",
        NOTHING,
        "A receiver that stays",
        "A receiver of one of Celery's signals that is no glue.",
        "The signal is sent at the same moment, with the same arguments.",
        "Nothing has to change.",
        "@signals.task_failure.connect\ndef report(sender, exception, **_): ...",
    ),
    Rule(
        "PTC209",
        ADVICE,
        "A worker option for the ini file",
        "An option `--ini` that is added to Celery's commands.",
        "`ptemporal-compat worker app.ini` takes the ini file by itself.",
        "Delete the option and the code that reads it.",
        'app.user_options["preload"].add(Option(["--ini"]))',
        Fix.UNSAFE,
        3,
    ),
    # --- task classes ---
    Rule(
        "PTC301",
        CHANGES,
        "A task class that overrides `__new__`, `__init__` or `__call__`",
        "A subclass of `Task` that has such a method.",
        "They run as in Celery: one instance a process, and `__call__` around the function. The transaction has begun "
        "before `__call__`.",
        "Check that the method needs no transaction of its own. If it makes a request, it is glue (PTC204).",
        "class Timed(Task):\n    def __call__(self, *args, **kwargs): ...",
        minutes=10,
    ),
    Rule(
        "PTC302",
        CHANGES,
        "A task class that overrides a way of sending",
        "A subclass of `Task` with `apply_async`, `delay`, `apply`, `retry` or `send_task`, or a subclass of `Celery` with "
        "`send_task`.",
        "The method is called as in Celery. Its own call of `super()` joins the current transaction.",
        "Check that it needs no answer of a broker, and does not wait for the commit itself.",
        "class Traced(Task):\n    def apply_async(self, *args, **options): ...",
        minutes=10,
    ),
    Rule(
        "PTC303",
        CHANGES,
        "A task class with hooks",
        "A subclass of `Task` with `before_start`, `on_success`, `on_retry`, `on_failure` or `after_return`.",
        "The hooks after a run have a transaction of their own, so what `on_failure` writes stays. `before_start` runs in "
        "the task's transaction.",
        "Delete a commit in the hook. Check that the hook reads nothing that the run has not committed.",
        "class Marked(Task):\n    def on_failure(self, exc, task_id, args, kwargs, einfo): ...",
        minutes=5,
    ),
    Rule(
        "PTC304",
        BLOCKS,
        "A Request class of a task",
        "`Request = …` in a task class, or a subclass of `celery.worker.request.Request`.",
        "No Request object is made from a message.",
        "Move its `on_timeout` and `on_failure` into the task class's `on_failure()`.",
        "class Limited(Task):\n    Request = MyRequest",
        minutes=30,
    ),
    Rule(
        "PTC305",
        BLOCKS,
        "The inside of a result backend",
        "SQL or code that reads `celery_taskmeta`, `celery_tasksetmeta` or keys `celery-task-meta-…`, an override of "
        "`BACKEND_ALIASES`, or a use of `app.backend`.",
        "Temporal keeps the results, so there is no table and no key to read.",
        "Read a result with `AsyncResult`. To join it with your rows, let the task write what you need into its own row.",
        '"SELECT … FROM celery_taskmeta JOIN orders ON …"',
        minutes=45,
    ),
    # --- apps and settings ---
    Rule(
        "PTC401",
        NOTHING,
        "An app object in a module",
        "`Celery(…)` at the top of a module.",
        "`config.include` adopts the app, and gives requests to its tasks.",
        "Nothing has to change. If no task uses the app, it can go.",
        'app = Celery("shop")',
    ),
    Rule(
        "PTC402",
        ADVICE,
        "An app object that a function makes",
        "`Celery(…)` inside a function, or an app that is kept in the Pyramid registry.",
        "`config.include` finds the app if it is the only one in the registry.",
        "If the app is elsewhere, name it with `ptemporal.app`, or the key in the registry with `ptemporal.app_key`.",
        "def make_celery(settings):\n    return Celery(…)",
        minutes=5,
    ),
    Rule(
        "PTC403",
        ADVICE,
        "A setting that has no meaning here",
        "A setting of Celery that the table of settings refuses.",
        "The setting is accepted, and has no effect.",
        "Delete it when it is convenient.",
        "broker_transport_options = {…}",
        minutes=1,
    ),
    Rule(
        "PTC404",
        NOTHING,
        "A setting whose purpose is met in another way",
        "A setting of Celery whose purpose the server meets.",
        "The setting is accepted, and has no effect.",
        "Nothing has to change.",
        "task_default_delivery_mode = 2",
    ),
    Rule(
        "PTC405",
        CHANGES,
        "A setting that Celery does not have",
        "A key among Celery's settings that is one edit away from a setting, or under the prefix `celery.` of the ini.",
        "A key that is one edit away from a setting is an error here. Celery ignored it.",
        "Correct the key, or move the application's own key elsewhere.",
        "celery.task_defalut_queue = items",
        minutes=3,
    ),
    Rule(
        "PTC406",
        ADVICE,
        "An old name of a setting",
        "An uppercase setting of Celery 3, such as `CELERY_TASK_SERIALIZER`.",
        "Old names are read as in Celery.",
        "Nothing has to change. `migrate ini --names new` writes the new names.",
        'CELERY_TASK_SERIALIZER = "json"',
    ),
    Rule(
        "PTC407",
        NOTHING,
        "Settings from an object",
        "`config_from_object` or `config_from_envvar`.",
        "It works as in Celery. Settings of the ini are added to it.",
        "Nothing has to change. `migrate ini --from-module` writes them as keys of the ini.",
        'app.config_from_object("celeryconfig")',
    ),
    Rule(
        "PTC408",
        ADVICE,
        "Keys of the application that look like Celery's",
        "A key of the ini such as `celery_broker` or `celery.broker`, which is no setting.",
        "The key is the application's own. Nothing reads it here.",
        "If the application's code reads it and passes it on to Celery, look at what it passes.",
        "celery_broker_address = redis://localhost",
        minutes=3,
    ),
    Rule(
        "PTC409",
        CHANGES,
        "A setting whose default differs in effect",
        "`task_acks_late = False`, `acks_late=False`, `task_always_eager` or `worker_prefetch_multiplier`, said explicitly.",
        "An explicit `acks_late=False` means at most once. Eager tasks run when the transaction commits.",
        "Keep `acks_late=False` only where running twice is worse than not running.",
        "task_acks_late = False",
        minutes=5,
    ),
    Rule(
        "PTC410",
        ADVICE,
        "The application can't be loaded",
        "`--ini` or `-A` names an application that does not load here.",
        "The audit of the loaded application is left out. The code was read all the same.",
        "Mend what the error names, and run the audit again.",
        "ptemporal-compat migrate audit --ini app.ini",
        minutes=5,
    ),
    Rule(
        "PTC411",
        ADVICE,
        "Calls of another application's Celery",
        "`send_task` or `apply_async` with `connection=` or `producer=`.",
        "The message goes to a broker that another application's workers read. Nothing here sends to a broker.",
        "Keep the real Celery for this file: `rewrite` leaves its imports. Keep celery in the requirements, and do not call "
        "`install_as_celery()` in this process.",
        "their_app.send_task(name, connection=connection)",
        minutes=10,
        once=True,
    ),
    # --- periodic tasks ---
    Rule(
        "PTC501",
        ADVICE,
        "Periodic tasks",
        "`beat_schedule`, a `[celerybeat:NAME]` section, or an entry of the loaded application.",
        "The server fires them. Run `ptemporal-compat beat app.ini` with each deploy, in the place of the beat process.",
        "Add the command to the deploy, and delete the beat process.",
        'app.conf.beat_schedule = {"purge": {"task": "shop.purge", "schedule": 3600}}',
        minutes=5,
    ),
    Rule(
        "PTC502",
        ADVICE,
        "Periodic tasks that are added while the application starts",
        "`add_periodic_task`, `beat_schedule.update(…)` or `beat_schedule[…] = …`, also in `on_after_configure` and "
        "`on_bound`.",
        "The entries count if the code has run when `ptemporal-compat beat` loads the application.",
        "Check the list with `ptemporal-compat beat app.ini --dry-run`.",
        "@app.on_after_configure.connect\ndef setup(sender, **_):\n    sender.add_periodic_task(10, ping.s())",
        minutes=3,
    ),
    Rule(
        "PTC503",
        BLOCKS,
        "A scheduler of one's own",
        "RedBeat, a subclass of `Scheduler`, `beat_scheduler`, `solar`, or a schedule class with times of its own.",
        "The server keeps the schedules, so there is no scheduler to replace.",
        "Declare the entries in `beat_schedule`, or let `ptemporal.schedules` name a callable that reads them from a database. "
        "`ptemporal-compat schedule` shows, pauses and fires them.",
        'beat_scheduler = "redbeat.RedBeatScheduler"',
        minutes=45,
    ),
    Rule(
        "PTC504",
        CHANGES,
        "A scheduler outside the application",
        "A crontab, a CronJob or a script that publishes tasks with `celery call`, `send_task` or kombu.",
        "Nothing listens to the broker any more.",
        "Make it an entry of `beat_schedule`, or let the script load the application and call the task.",
        "0 3 * * * celery -A shop call shop.purge",
        minutes=15,
    ),
    # --- commands ---
    Rule(
        "PTC601",
        ADVICE,
        "A command that starts a worker",
        "`celery … worker` in a Procfile, a unit file, a Dockerfile, a compose file, a script or a program.",
        "`ptemporal-compat worker` takes the same options, and an ini file in the place of `-A`.",
        "Let `rewrite` change the command. With an ini of Pyramid, write its name in the place of `-A`.",
        "worker: celery -A shop worker -l info",
        Fix.SAFE,
        3,
    ),
    Rule(
        "PTC602",
        ADVICE,
        "A command that runs beat",
        "`celery … beat`, or `-B` of a worker.",
        "The command copies the periodic tasks to the server, and ends. A process that has to stay up would restart for "
        "ever.",
        "Run it once with each deploy, or add `--watch 60`, which `rewrite --unsafe` does. `-B` works as before.",
        "beat: celery -A shop beat",
        Fix.UNSAFE,
        5,
    ),
    Rule(
        "PTC603",
        ADVICE,
        "A monitor of Celery",
        "`flower`, `celery events`, or an exporter that reads events.",
        "Workers send no events. The web UI shows every task.",
        "Delete the process.",
        "flower: celery -A shop flower",
        minutes=5,
    ),
    Rule(
        "PTC604",
        CHANGES,
        "Another command of Celery",
        "`celery inspect`, `control`, `purge`, `call`, `multi` and others.",
        "There is no command of this name here.",
        "Use `app.control` and `inspect` from Python, the web UI, or the `temporal` command.",
        "celery -A shop inspect ping",
        minutes=10,
    ),
    Rule(
        "PTC605",
        ADVICE,
        "An option of a command that is refused or has no effect",
        "An option of Celery's worker or beat that is accepted without effect, or refused.",
        "`ptemporal-compat worker` says what replaces the option.",
        "Delete the option. `-D` and `--detach` are refused: a service manager starts the worker.",
        "celery -A shop worker -D",
        minutes=2,
    ),
    Rule(
        "PTC606",
        ADVICE,
        "An environment variable of Celery",
        "`CELERY_LOADER`, `CELERY_BROKER_URL`, `CELERY_RESULT_BACKEND` and others.",
        "There is no loader and no result backend. A broker's address is not used.",
        "Delete the variable, or set `TEMPORAL_ADDRESS`.",
        "Environment=CELERY_BROKER_URL=redis://redis/0",
        minutes=2,
    ),
    # --- packages and tests ---
    Rule(
        "PTC701",
        ADVICE,
        "A requirement of Celery",
        "celery, kombu, billiard, vine or an extension of Celery among the requirements.",
        "Nothing here needs them.",
        "Replace celery by pyramid-temporal-compat. Keep kombu if the application sends messages of its own (PTC104).",
        "celery[redis]==5.3.6",
        Fix.SAFE,
        1,
    ),
    Rule(
        "PTC702",
        BLOCKS,
        "A pin that can't be met",
        "A requirement, or a Python version, below what this package needs.",
        "pip can't install both.",
        "Raise the version. The page on dependencies says why each lowest version is needed.",
        "sqlalchemy==1.3.24",
        minutes=60,
    ),
    Rule(
        "PTC703",
        ADVICE,
        "Warnings are errors in the tests",
        "`filterwarnings = error`.",
        "This package warns about keys that are no setting, and Pyramid about `pkg_resources`.",
        "Run the tests, and add an `ignore` line for each warning that is not yours.",
        "filterwarnings = error",
        minutes=5,
    ),
    # --- behaviour at run time ---
    Rule(
        "PTC801",
        CHANGES,
        "A task that may have an effect outside twice",
        "A task that sends mail, posts to a service or charges, and does not say `acks_late`.",
        "If its worker dies, the task runs again. Celery would lose it.",
        "Make the effect happen once by a key that the other side knows, or say `acks_late=False`: at most once.",
        '@app.task\ndef charge(order_id):\n    requests.post("https://pay.example/charge")',
        minutes=10,
    ),
    Rule(
        "PTC802",
        CHANGES,
        "Arguments that may be too large",
        "A file's content, base64 text, or an image among the arguments of a task.",
        "Arguments may have 2 MiB (`ptemporal.payload_limit`). A larger one is an error in the view.",
        "Write the content to the database or a file, and send its id.",
        "convert.delay(upload.file.read())",
        minutes=20,
    ),
    Rule(
        "PTC803",
        ADVICE,
        "A task that waits for a row by retrying",
        "A task that retries if its row is not there yet, or a call with a short `countdown` that gives the commit time.",
        "The task starts after the commit, so the row is there.",
        "Delete the retry or the countdown when it is convenient. A row that is missing for good retries as before.",
        "except NoResultFound as error:\n    raise self.retry(exc=error, countdown=2)",
        minutes=5,
    ),
    Rule(
        "PTC804",
        CHANGES,
        "A task's id that is kept",
        "`AsyncResult(…)` with an id from a row, or `result.id` that is stored.",
        "A result lives for the namespace's retention. After that, the id is PENDING, as after `result_expires`.",
        "Check that the retention is as long as the id is asked for. Old ids of Celery are PENDING here.",
        "AsyncResult(order.task_id).state",
        minutes=5,
    ),
    Rule(
        "PTC805",
        CHANGES,
        "A task's id that is chosen by the caller",
        "`task_id=` in a call.",
        "An id is used once: a second task with the same id is not started, even after the first has ended.",
        "Add what makes the call unique, such as a date, if the task has to run again.",
        'sync.apply_async(task_id=f"sync-{user.id}")',
        minutes=10,
    ),
    Rule(
        "PTC806",
        CHANGES,
        "A task that waits for another task",
        "`.get()` or `.join()` of a result inside a task, or `disable_sync_subtasks=False`.",
        "As in Celery, it raises `RuntimeError` outside of `allow_join_result()`. In the transaction that calls the task it "
        "raises `StillEnlisted`, because it would wait for ever.",
        "Make it a chain or a chord. Otherwise let the call leave its transaction first.",
        "total = add.delay(1, 2).get(disable_sync_subtasks=False)",
        minutes=20,
    ),
    Rule(
        "PTC807",
        CHANGES,
        "A task name that two applications share",
        "Two functions with the same task name in the files that were read.",
        "Two applications in one namespace with one queue take each other's tasks.",
        "Give each application a queue (`celery.task_default_queue`) or a namespace (`ptemporal.namespace`) of its own.",
        '@shared_task(name="send_mail")',
        minutes=10,
    ),
    Rule(
        "PTC808",
        CHANGES,
        "A serialiser that runs code or needs a package",
        "pickle or yaml among the serialisers or the accepted content.",
        "Pickle is accepted only if `accept_content` names it, as in Celery.",
        "Move to JSON while you are here, if the arguments allow it.",
        'task_serializer = "pickle"',
        minutes=10,
    ),
    # --- the live broker ---
    Rule(
        "PTC901",
        ADVICE,
        "A queue that holds messages",
        "Each queue of the broker: how many messages wait, and for how long.",
        "Workers here do not read the broker.",
        "Let Celery's workers empty the queue before the move.",
        "ptemporal-compat migrate audit --broker redis://localhost",
        minutes=2,
    ),
    Rule(
        "PTC902",
        CHANGES,
        "Messages that are too large",
        "A message of the broker whose body is larger than the limit of arguments.",
        "Arguments may have 2 MiB (`ptemporal.payload_limit`).",
        "Write the content to the database, and send its id.",
        "",
        minutes=20,
    ),
    Rule(
        "PTC903",
        CHANGES,
        "Content types of messages",
        "Messages of the broker that are not JSON.",
        "The application has to accept the content type here too.",
        "Name it in `accept_content`, or move to JSON.",
        "",
        minutes=10,
    ),
    Rule(
        "PTC904",
        ADVICE,
        "Messages that wait for a time",
        "Messages of the broker with an ETA, and the farthest of them.",
        "The server holds such tasks here, without a worker. The messages of the broker stay there.",
        "Keep a Celery worker until the farthest ETA, or call the tasks again here.",
        "",
        minutes=10,
    ),
    Rule(
        "PTC905",
        ADVICE,
        "Messages that workers hold",
        "Messages that the broker has given to a worker and that are not acknowledged: running, prefetched or with an "
        "ETA.",
        "They are in no queue.",
        "Stop Celery's workers with SIGTERM: they finish what runs, and give the rest back.",
        "",
        minutes=5,
    ),
    Rule(
        "PTC906",
        NOTHING,
        "Priorities",
        "Messages of the broker with a priority.",
        "The priorities 0 to 9 are kept here.",
        "Nothing has to change.",
        "",
    ),
    Rule(
        "PTC907",
        CHANGES,
        "Tasks that no module knows",
        "Messages of the broker whose task is not in the code that was read, nor in the loaded application.",
        "Here such a task waits for a worker that knows it.",
        "Find who sends it: another application on the same broker, or code that is gone.",
        "",
        minutes=10,
    ),
    Rule(
        "PTC908",
        NOTHING,
        "How many actions a month",
        "The rate of tasks in the result backend, and what it is in Temporal's billable actions.",
        "A task is 2 actions: its start and its run. Retries, countdowns and long runs add to it.",
        "Compare with the price of Temporal Cloud. A server of your own has no such count.",
        "",
    ),
    Rule(
        "PTC909",
        ADVICE,
        "Messages that can't be read",
        "Messages of the broker that are no messages of Celery, or that this reader can't decode.",
        "The message may belong to another program.",
        "Look at the queue with the broker's own tools.",
        "",
        minutes=5,
    ),
)

RULES: dict[str, Rule] = {rule.code: rule for rule in TABLE}
