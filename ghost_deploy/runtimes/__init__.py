"""Inference backends behind one interface: see `base` for it and `table` for the backends."""
