"""Moves a Celery application over: what a move takes (`audit`), and most of it done (`rewrite`, `ini`).

Each kind of source has a module that gives findings: Python (`python_*.py`), ini files, commands, packaging, the loaded
application, the live broker. A finding names its rule and may carry edits of the text. `audit` prints the findings, and
`rewrite` applies their edits. So a fix that the audit promises is the fix that the rewrite makes.

Only the modules `python_*.py` need libcst, the extra `migrate`.
"""
