"""One file a family: the native network, and its stages in forward order.

A family's function takes a card and returns `(native, stages)`. The stages are the card's blocks, then "features", the
head's input (N, D); they share their modules with `native`, which is torchvision's own wherever it has one.
"""

from xfer.models.families import FamilyTable

FAMILIES = FamilyTable(__name__, __path__)
