"""The processes beside the daemon, and what they share: how they are started, the pipe, how they end."""
