"""Which tokens see the same direction."""
