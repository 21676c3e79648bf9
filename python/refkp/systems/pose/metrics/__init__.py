"""Errors and recalls of estimated poses by the rules of the BOP challenge, and the challenge's result files."""
