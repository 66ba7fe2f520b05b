"""Data: labelled images and points by name, the cards that describe them, views of them and their neighbours."""

from nesy_gedi.data.cards import Card, load_card
from nesy_gedi.data.image_sets import ImageSet, ImageSplits, Labels, split_validation
from nesy_gedi.data.images import DataDescription, available, describe, load_images
from nesy_gedi.data.neighbours import nearest_neighbours
from nesy_gedi.data.queries import Outside, Queries, draw_kinds, draw_tuples
from nesy_gedi.data.shapes import generate_shapes
from nesy_gedi.data.views import Augmentation, augment

__all__ = [
    "Augmentation",
    "Card",
    "DataDescription",
    "ImageSet",
    "ImageSplits",
    "Labels",
    "Outside",
    "Queries",
    "augment",
    "available",
    "describe",
    "draw_kinds",
    "draw_tuples",
    "generate_shapes",
    "load_card",
    "load_images",
    "nearest_neighbours",
    "split_validation",
]
