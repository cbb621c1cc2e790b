"""What people want to see of an application: its tasks, failures, queues, workers, schedules and outbox.

The commands `tasks` and `queues` print these values, and the board shows them.

`task_filter.py`   which tasks: by name, state, queue, time, error, arguments
`task_list.py`     pages of tasks, newest first; the server makes the pages
`task_rows.py`     one task in a list, and `standalone_rows.py` one without a workflow
`task_details.py`  everything about one task
`failures.py`      the failed tasks of the last hours, counted by task and error
`retries.py`       run failed tasks anew
`queues.py`        backlog, age, rates and pollers of each queue
`workers.py`       which workers there are, and what each is doing
`outbox.py`        the messages between commit and dispatch
`schedules.py`     next and last runs, and which schedules are late

`control/paused_types.py` keeps the tasks of a type from starting.

Functions with a `client` run on the connection's event loop: `app.temporal.call(lambda client: …)`.
"""
