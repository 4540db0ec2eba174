"""Spurious features: candidates, their evidence, what an edit changes, what fixes them."""
