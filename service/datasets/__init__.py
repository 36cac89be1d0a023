"""From bytes to tensors: readers, column types, split, transforms.

What reads, keeps and describes data (`readers`, `json_reader`, `dataset`, `store`, `report`) imports no
torch; what a trainer needs (`split`, `transforms`, `encoding`, `prepare`) does.
"""
