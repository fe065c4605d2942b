"""Many runs by one file: what is run, where, and what came of it."""
