"""What features and captions are worth."""
