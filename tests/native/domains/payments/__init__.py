"""Payments, on a queue of their own."""

import os

TASK_QUEUE = os.environ.get("PAYMENTS_QUEUE", "payments")
