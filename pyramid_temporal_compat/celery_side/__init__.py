"""The other side of a move: Celery's broker, to which calls are published, and its result backend, which is read.

These modules use the clients `redis` and `amqp`. They do not use kombu, because `import kombu` may mean this package.
"""
