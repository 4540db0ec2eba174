"""Name or folder -> classifier, tokenizer and language-model head."""
