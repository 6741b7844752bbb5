"""The HTTP face: an API under ``/v1`` for programs, and a page for people. Needs the extra ``web``."""
