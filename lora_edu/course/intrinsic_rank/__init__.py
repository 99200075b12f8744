"""Intrinsic rank: what this lesson needs and no other."""
