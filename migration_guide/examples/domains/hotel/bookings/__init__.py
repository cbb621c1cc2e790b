"""Who sleeps in which room. Workers of this domain serve the queue `bookings`."""

TASK_QUEUE = "bookings"
