"""Labelled images in the COCO and the YOLO form."""
