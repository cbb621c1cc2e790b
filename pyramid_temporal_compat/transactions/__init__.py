"""The Pyramid request and the transaction of a task, and what a database error in it means."""
