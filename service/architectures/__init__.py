"""From an architecture spec to a `torch.nn.Module`."""
