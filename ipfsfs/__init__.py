"""ipfsfs: a checked, content-addressed FUSE view over a directory that stays complete beneath it."""

from importlib.metadata import version

__version__ = version("ipfsfs")
