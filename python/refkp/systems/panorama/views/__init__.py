"""What a panorama is cut into: layouts, crops, rendering, and back."""
