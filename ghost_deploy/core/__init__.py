"""What every room shares: errors, model description, bundle, evidence, files."""
