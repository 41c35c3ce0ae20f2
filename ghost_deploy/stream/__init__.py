"""Images in, results out: sources, drawing and sinks. Files only; live video comes later."""
