"""What is wrong with a dataset itself, by a stored run of it: no model runs here."""
