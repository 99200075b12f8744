"""Rank and svd: what this lesson needs and no other."""
