"""Lesson 09, to come: a voice for a chat model."""
