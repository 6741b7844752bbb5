# The reference application: one image for the worker and for Flower (deploy/compose.yaml says which).
FROM python:3.11-slim

# Nobody needs root in here, and Celery says so loudly when it has it.
RUN useradd --create-home --uid 1000 collectors
WORKDIR /app

# What changes seldom comes first, so that a change of main/ alone installs nothing again.
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir --disable-pip-version-check -c constraints.txt ".[flower]"

COPY main main
RUN mkdir data && chown collectors data
USER collectors
ENV PYTHONUNBUFFERED=1

# In the form of a list, so that the worker itself gets SIGTERM and ends what it runs.
CMD ["celery", "-A", "main.celery_app", "worker", "--loglevel", "INFO", "--task-events"]
