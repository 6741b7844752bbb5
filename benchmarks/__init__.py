"""Measurements of this package beside what one would use without it; ``scripts/bench`` runs them."""
