"""The same audit on Ray Data: many workers, one file."""
