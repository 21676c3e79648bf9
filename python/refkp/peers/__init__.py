"""What others offer, written with their tools: compared with in benchmarks and demo, never called by a system."""
