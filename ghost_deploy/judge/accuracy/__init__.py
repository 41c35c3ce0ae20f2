"""How many objects a model finds: COCO mAP of every artifact, with a gate."""
