"""int8 artifacts of a bundle: made in each runtime's form, judged by what they cost and bring."""
