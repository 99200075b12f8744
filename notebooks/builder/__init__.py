"""Build the notebooks from their sources: see ``notebooks/build.py``, the command."""
