"""What a daemon can be asked. One module holds one question: its fields, its answer, and how the daemon finds it."""
