"""What the lessons need around the core: figures, exercise checks, data, experiments."""
