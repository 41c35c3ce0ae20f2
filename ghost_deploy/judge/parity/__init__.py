"""Is an artifact the model that was trained? Numbers and detections, side by side."""
