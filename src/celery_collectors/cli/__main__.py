"""``python -m celery_collectors.cli`` is ``collectors``."""

from celery_collectors.cli import main

if __name__ == "__main__":
    main()
