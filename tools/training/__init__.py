"""Training of the zoo's detectors: `python -m tools.training --help`."""
