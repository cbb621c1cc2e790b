"""The worker: the way of one task from the server to its function, and back.

`worker.py`      takes tasks from the server, with one Temporal worker for each queue
`program.py`     is the worker as a command, with Celery's options, signals and logging
`workflows/`     the workflow of a task or a canvas, which asks for one activity per task
`call_defaults.py` completes a call by another Temporal client, which has arguments only
`slice_activity.py` runs several members of a canvas in one activity; each makes the attempt that `activity.py` lists
`activity.py`    one attempt of a task on the event loop; it lists the steps in `steps/` in their order:

                 read_message     the message, what the last attempt changed in it, and how the earlier attempts ended
                 earlier_receipt  is the task done already?
                 admission        has it expired, was it revoked, is it known here?
                 pause            is its type paused?
                 rate_limit       its turn
                 lost_worker      has it lost its worker too often?
                 pool_run         the run in the pool, with heartbeats; `stopping`, `time_limit` and `lost_worker` say
                                  what becomes of a run that does not end by itself
                 failure_hooks    the hooks after such a run
                 report           the result or failure, for Temporal
                 hand_over        a task without a workflow that needs one goes on as one

`job.py`         what the event loop hands to the pool, and `outcome.py` what the pool hands back
`pools/`         threads, child processes, or this thread
`to_celery.py`   in the place of `runner.py`: has Celery run the task, and waits for its result
`runner.py`      one run of a task in the pool; it lists the steps in `runs/` in their order:

                 arguments        read from the message, with `previous_results` in front
                 task_request     `self.request`
                 fired_task       tools that watch Celery's beat
                 receipts         leaves and finds receipts, at the moments that `task/execution.py` gives
                 result           written as bytes before the commit
                 ending           the outcome
"""
