"""The processes behind ``collectors up``: what they are, keeping them running, stopping them, their words.

``parts.py`` says how a worker, the page and Flower are started; ``keeping.py`` starts them again when they end, and
leaves none behind; ``voices.py`` prints what each says under its name; ``readiness.py`` tells when they answer.
"""
