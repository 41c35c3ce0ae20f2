"""Search of int8 files: built in each form, judged for accuracy, timed, written to a bundle."""
