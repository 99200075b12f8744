"""Counting parameters: what this lesson needs and no other."""
