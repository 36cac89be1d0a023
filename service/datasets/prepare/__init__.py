"""From a dataset and its declaration to encoded training, validation and test samples."""
