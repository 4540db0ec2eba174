"""The page New audit: what is filled in, the form, and the cards of what was started."""
