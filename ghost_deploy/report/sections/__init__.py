"""The sections, a module for each part of a page: they choose and order what blocks show."""
