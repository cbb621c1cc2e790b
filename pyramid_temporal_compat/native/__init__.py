"""Activities and workflows that are written for Temporal, with the Pyramid application around them.

`activity.py`          temporalio's `activity`, with a `defn` that knows activities which take an `ActivityContext`
`context.py`           what such an activity gets
`unit_of_work.py`      one execution: a Pyramid request of its own, with a transaction around it
`current_requests.py`  which request is current, on a thread where several executions take turns
`binding.py`           gives the activities of an application their registry
`interceptor.py`       the same unit of work for activities that take no context
`connection_limit.py`  how many `async def` activities the database's connections allow
`replay.py`            recorded histories against the workflow code of today
`compat_tasks.py`      the application's tasks in the same worker
`sandbox.py`           which modules a workflow sees as they are
`worker.py`            temporalio's worker, with all of these
`request_temporal.py`  `request.temporal`, and the same outside a request
`start_options.py`     the options of `start_workflow`
`waiting_calls.py`     puts starts and signals into the current transaction
`workflow_handle.py`   asks the server about one workflow
`task_execution.py`    a workflow calls a task
"""
