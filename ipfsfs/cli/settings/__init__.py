"""Settings: what a view is mounted with, from flags, the environment and one file, in one table."""
