"""Figures: of sessions, of bodies over pictures and all around, of samples and what a model makes of them."""
