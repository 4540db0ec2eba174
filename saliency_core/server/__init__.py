"""Starting the dashboard; commands that run behind a page."""
