"""What each operation hands back in place of its derivative, one module per kind of operation."""
