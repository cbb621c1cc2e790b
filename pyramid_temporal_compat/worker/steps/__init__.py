"""The steps of one attempt, on the worker's event loop. `worker/activity.py` lists them in order.

No step imports another step. What several steps need lies beside this folder: `taken_task.py`, `heartbeat.py`,
`attempt_end.py` and `task_signals.py`.
"""
