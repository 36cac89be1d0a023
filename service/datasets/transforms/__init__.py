"""Transforms of columns: declared, fitted on training rows, applied to features, inverted in outputs.

    specs ─ resolve ─▶ steps of each column ─ fit ─▶ fitted transforms ─ apply ─▶ tensors
                                                                      ◀─ invert ─ outputs

Each type of transform is a subclass of `fitted.FittedTransform`; `registry` lists them by name.
"""
