"""One page a file: reads widgets, asks the store, draws a chart."""
