"""Parity: raw outputs and detections of artifacts compared with the checkpoint."""
