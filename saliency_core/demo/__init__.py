"""The embedded demonstration: messages with a planted shortcut, a model trained on them."""
