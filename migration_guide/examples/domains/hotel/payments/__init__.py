"""What the hotel is paid. Workers of this domain serve the queue `payments`."""

TASK_QUEUE = "payments"
