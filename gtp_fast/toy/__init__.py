"""Small laws with known answers that show what a flow map learns."""
