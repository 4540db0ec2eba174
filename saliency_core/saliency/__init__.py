"""Hidden states and logits -> saliency of every layer; tensors, no files."""
