"""Lesson 00 sets no exercise, so nobody can answer one wrongly."""

CASES = {}
