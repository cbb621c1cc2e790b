"""The proof of the move: an application under load goes from real Celery to Temporal, queue by queue, under kills."""
