"""What happens in a Celery worker: fetching runs and stages from the ledger, and running them."""
