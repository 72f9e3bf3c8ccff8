"""One process per mount: how it starts, answers questions, and goes."""
