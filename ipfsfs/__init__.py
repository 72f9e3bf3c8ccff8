"""ipfsfs: a checked, content-addressed FUSE view over a directory that stays complete beneath it."""

__version__ = "0.1.0"
