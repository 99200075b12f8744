"""Lesson 00: a chat model changes its voice."""
