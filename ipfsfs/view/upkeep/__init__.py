"""What follows from what happens to files: they are sealed, and held to what their names promise."""
