"""How faithful saliency is: masking, mosaics, human marks, other methods."""
