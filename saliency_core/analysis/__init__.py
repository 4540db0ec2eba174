"""Questions to a stored run: words, layers, slices, calibration, comparison of runs."""
