"""The calibration set: which images, proved by their content."""
