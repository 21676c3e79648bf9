"""Animal bodies: a mesh that joints move, from files, rigs or a table of bones."""
