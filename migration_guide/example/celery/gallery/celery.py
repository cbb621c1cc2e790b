"""Celery and Pyramid, put together: a request and a transaction for each task, and no task before its commit.

Start a worker with `celery -A gallery.celery worker --ini development.ini`.
"""

from functools import partial

from celery import Celery, Task, signals
from celery.utils import uuid
from click import Option
from pyramid.paster import get_app, setup_logging
from pyramid.scripting import prepare
from pyramid.threadlocal import get_current_request


class PyramidTask(Task):
    abstract = True

    @property
    def pyramid_request(self):
        return self.request.pyramid_request

    def __call__(self, *args, **kwargs):
        with prepare(registry=self.app.registry) as env:
            request = env["request"]
            self.request.update(pyramid_request=request)
            with request.tm:
                # run(), because Task.__call__ would push a second self.request, without our Pyramid request.
                return self.run(*args, **kwargs)

    def apply_async(self, args=None, kwargs=None, task_id=None, **options):
        request = get_current_request()
        if request is None:
            return super().apply_async(args, kwargs, task_id=task_id, **options)
        # Published now, the task could run before the rows that it needs are committed, or though they never are.
        task_id = task_id or uuid()
        publish = partial(super().apply_async, args, kwargs, task_id=task_id, **options)
        request.tm.get().addAfterCommitHook(lambda committed: publish() if committed else None)
        return self.AsyncResult(task_id)


app = Celery("gallery", task_cls=PyramidTask)
app.user_options["preload"].add(Option(["--ini"], default="development.ini", help="The application's ini file."))
# Celery's current app is a thread-local; without this, the threads of the web server would see an empty one.
app.set_default()


def includeme(config):
    prefix = "celery."
    settings = config.get_settings()
    app.conf.update({key[len(prefix) :]: settings[key] for key in settings if key.startswith(prefix)})
    app.registry = config.registry


@signals.user_preload_options.connect
def bootstrap_worker(options, **_):
    app.ini = options["ini"]
    get_app(app.ini)


@signals.setup_logging.connect
def set_up_logging(**_):
    setup_logging(app.ini)
