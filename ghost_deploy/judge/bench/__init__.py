"""What a model runs on, and how fast: the one stopwatch, its figures, and the machine."""
