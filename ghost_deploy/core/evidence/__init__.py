"""What was measured of an artifact, as typed documents that a bundle carries."""
