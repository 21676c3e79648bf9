"""What a trained run says, and how well."""
