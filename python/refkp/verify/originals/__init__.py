"""What only golden cases need: parts of earlier revisions, kept to compare with and called by no system."""
