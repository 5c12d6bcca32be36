"""One file a family: the network as a generator of its stages in forward order.

A family's function takes the normalised input and a card, and yields `(stage, tensor)`: the card's blocks, then
"features", the head's input (N, D). Layers carry the canonical names.
"""

from xfer.models.families import FamilyTable

FAMILIES = FamilyTable(__name__, __path__)
