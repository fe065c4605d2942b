"""Episodes of a policy; free of torch, as worker processes need it."""
