"""Placeholders: files that are known by their CID and not wholly here, which a symlink stands for in the plain root."""
