"""What a body and its cameras are trained for: pure functions, each a `Mean` over the items that count."""
