"""An application without Pyramid, as Celery's guide lays one out."""
