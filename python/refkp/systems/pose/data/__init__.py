"""Pictures of known objects: shards and BOP folders, the generator that writes shards, batches for training."""
