"""What a model runs on, and how fast. The stopwatch comes later; the machine is described."""
