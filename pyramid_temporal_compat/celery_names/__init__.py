"""Names of Celery and kombu that need no app and no server: values, helper functions, and the refused names.

`as_celery/` makes `import celery` find these modules.
"""
