"""Real model: what this lesson needs and no other."""
