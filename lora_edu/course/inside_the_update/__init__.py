"""Inside the update: what this lesson needs and no other."""
