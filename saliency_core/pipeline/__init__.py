"""An audit from dataset to file: planning, batches, model, saliency, writing."""
