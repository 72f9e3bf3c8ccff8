"""One process for each mount: its life, its control socket, its guardian."""
