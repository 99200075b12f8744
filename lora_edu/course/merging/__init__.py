"""Merging: what this lesson needs and no other."""
