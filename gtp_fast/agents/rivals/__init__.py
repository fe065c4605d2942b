"""The policies that GTP is compared with."""
