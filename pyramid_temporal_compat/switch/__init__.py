"""The switch of a move: rules that say for each call whether Temporal or Celery gets it.

`rules.py`        what a rule says, and which side a call goes to
`kept.py`         the rules in a file, and the choice between a file and the database
`in_database.py`  the rules in the database of the outbox
`watch.py`        what each process knows of the rules
`route.py`        turns what the application sends into what leaves, by the rules
"""
