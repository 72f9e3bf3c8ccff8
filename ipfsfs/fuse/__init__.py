"""Translates the kernel's requests, and nothing else. The only room with pyfuse3: none of its types leaves."""
