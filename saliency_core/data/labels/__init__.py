"""How the labels of a dataset correspond to the classes of a model."""
