"""Images, videos and live sources in, results out: sources, pipeline, tracking and sinks."""
