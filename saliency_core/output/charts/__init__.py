"""Vega-Lite charts of the pages and the report."""
