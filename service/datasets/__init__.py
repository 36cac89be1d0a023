"""From bytes to tensors: readers, column types, split, transforms.

What the API needs (`dataset`, `json_reader`, `csv_reader`, `report`) imports no torch; what a trainer
needs (`split`, `transforms`, `encoding`, `prepare`) does.
"""
