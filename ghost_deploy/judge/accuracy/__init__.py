"""Accuracy: COCO mAP of the artifacts, with a gate."""
