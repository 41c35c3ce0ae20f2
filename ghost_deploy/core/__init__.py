"""Shared by all packages: errors, model description, bundle, evidence, files."""
