"""Plain names of Celery and kombu: values, helper functions, and stand-ins for the names that are refused.

The modules here know no app and no server. `as_celery/` makes `import celery` find them.
"""
