"""NEW OP: forward and backward in Triton."""
