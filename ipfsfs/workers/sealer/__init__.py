"""The process beside the daemon that reads, chunks and hashes, and the pipes to it."""
