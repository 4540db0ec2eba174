"""Layers of a run: which to read, how alike they are, what they cost."""
