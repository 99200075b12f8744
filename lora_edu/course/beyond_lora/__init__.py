"""Beyond lora: what this lesson needs and no other."""
