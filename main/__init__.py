"""The reference application: the original proof of concept, made real, on public names only."""
