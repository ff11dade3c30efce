"""The forms in which a finished dataset is exported, for the programs that people train with."""
