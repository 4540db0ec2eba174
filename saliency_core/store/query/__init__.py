"""A filter's line of text -> the examples it names."""
