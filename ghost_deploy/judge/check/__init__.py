"""Whether an artifact computes on this machine what it computed where it was judged."""
