"""Data: labelled images by name, generated shapes, and the cards that describe them."""

from nesy_gedi.data.cards import Card, load_card
from nesy_gedi.data.image_sets import ImageSet, ImageSplits, Labels, split_validation
from nesy_gedi.data.images import DataDescription, available, describe, load_images
from nesy_gedi.data.queries import Queries, draw_tuples
from nesy_gedi.data.shapes import generate_shapes

__all__ = [
    "Card",
    "DataDescription",
    "ImageSet",
    "ImageSplits",
    "Labels",
    "Queries",
    "available",
    "describe",
    "draw_tuples",
    "generate_shapes",
    "load_card",
    "load_images",
    "split_validation",
]
