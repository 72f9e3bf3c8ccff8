"""The command line: one file for each command, and how results are shown."""
