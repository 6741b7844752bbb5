"""``python -m celery_collectors.cli`` is ``collectors``."""

from celery_collectors.cli.group import main

if __name__ == "__main__":
    main()
