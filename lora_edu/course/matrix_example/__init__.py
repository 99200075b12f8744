"""Matrix example: what this lesson needs and no other."""
