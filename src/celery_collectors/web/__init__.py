"""The HTTP face: an API under ``/v1`` for programs, thin and on top of the facade. Needs the extra ``web``."""
