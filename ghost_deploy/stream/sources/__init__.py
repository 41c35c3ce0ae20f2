"""Where frames come from: one module a kind of source, see `source_table`."""
