"""Rendered views of objects: choosing them, rendering them, and the store on disk."""
