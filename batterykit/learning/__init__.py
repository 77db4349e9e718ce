"""Learning from check-ups: tasks, honest splits, models, their evaluation and their runs."""
