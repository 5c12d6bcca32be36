"""The networks of the zoo as torch modules, torchvision's own where it has them."""
