"""How a run lies in the file: keys, rows, packed chunks of scores."""
