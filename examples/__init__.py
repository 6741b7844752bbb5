"""Small whole programs that use celery-collectors as anybody would, by its public names alone."""
