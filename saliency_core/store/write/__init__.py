"""What writes a file: audits, annotations, merging, pruning."""
