"""Resident files: ordinary, whole files in the plain directory, and directories and links."""
