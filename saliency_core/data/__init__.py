"""Files and hub datasets -> examples with text, label, id and metadata."""
