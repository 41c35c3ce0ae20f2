"""Results as files that other tools read: one module a form, see `save_forms`."""
