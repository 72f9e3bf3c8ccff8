"""What a path in a Hugging Face cache is, as pure functions: secret, scratch, promise or content."""
