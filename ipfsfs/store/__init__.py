"""What we add on this machine: seals, what must not be forgotten, and content that was put aside. Knows no view."""
