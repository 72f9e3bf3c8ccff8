"""What a name means, and what a read or a write does. Speaks numbers and bytes, and knows nothing of FUSE's types."""
