"""Transforms of single columns: declared, fitted on training rows, applied to features, undone in outputs.

    specs ─ resolve ─▶ steps of each column ─ fit ─▶ fitted transforms ─ apply ─▶ tensors
                                                                      ◀─ invert ─ outputs

Each kind of transform is a class of `fitted.FittedTransform`; `kinds` lists them beside their specs.
"""
