"""Samples of multi-view sessions in one HDF5 file: what training reads."""
