"""Small laws with known answers, on which a reader can see what a flow map learns."""
