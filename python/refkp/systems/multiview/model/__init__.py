"""From the views of an instant to one body and a camera for each view."""
