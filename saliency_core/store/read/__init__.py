"""What readers ask of a file."""
