"""Lesson 00 sets no exercise, so nobody can answer one wrongly."""

CASES = {}

# What a learner may change on the page, and how many of its sentences are false then.
PLAYED = [
    ('    "Meow. The box is mine now.",\n', "", 1),
]
