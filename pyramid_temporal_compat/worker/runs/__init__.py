"""The steps of one run of a task, where the pool puts it. `worker/runner.py` lists them in order."""
