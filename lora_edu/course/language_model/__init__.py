"""A voice for a chat model."""
