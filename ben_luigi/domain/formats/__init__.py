"""Read and write the bytes of files: TIFF, tar, zstd frames, shards, hash lists."""
