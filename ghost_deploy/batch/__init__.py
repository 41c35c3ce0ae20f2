"""Runs over an archive: many images and videos in, Parquet parts out, on one machine or many."""
