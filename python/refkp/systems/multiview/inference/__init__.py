"""What a trained model says of views, and how far from the truth that is, beside what knows less."""
