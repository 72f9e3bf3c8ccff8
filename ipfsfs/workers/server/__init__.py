"""The server: the process that gives other machines what may be given of the files that are here."""
