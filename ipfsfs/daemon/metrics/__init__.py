"""Metrics: what a view counts, in one table, and how it is shown and served."""
