"""The same work on other task queues: each a module, and beside it the exact versions that its environment has.

Each is written as its own documentation has it, in its fastest form, with its own defaults for what is not said here.
They import nothing of this project but the work and the journal.
"""
