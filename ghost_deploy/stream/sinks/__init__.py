"""Where results go: one module a sink, see `sink_table`."""
