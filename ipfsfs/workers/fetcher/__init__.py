"""The fetcher: the process that asks origins, and the only one that parses what comes from a network."""
