"""The model of the pose system: which template patch each query patch sees, and the flow inside the patch."""
