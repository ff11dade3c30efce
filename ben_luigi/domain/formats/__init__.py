"""The bytes of files: TIFF, tar, zstd frames, shards, lists of hashes."""
