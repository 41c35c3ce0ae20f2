"""What runs inside the interpreters of vendors' converters, see `converter_main`."""
