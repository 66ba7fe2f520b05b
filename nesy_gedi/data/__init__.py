"""Data: images, points and tuples by name, from files and from Python; the cards that describe known data sets, views of
images and their neighbours."""

from nesy_gedi.data.arrays import from_arrays
from nesy_gedi.data.cards import Card, load_card
from nesy_gedi.data.datasets import from_dataset
from nesy_gedi.data.decoding import ReadOptions, read_image
from nesy_gedi.data.image_sets import (
    UNKNOWN,
    GivenQueries,
    ImageSet,
    ImageSplits,
    Labels,
    Observations,
    split_validation,
)
from nesy_gedi.data.images import DataDescription, available, describe, load_images
from nesy_gedi.data.neighbours import nearest_neighbours
from nesy_gedi.data.queries import Outside, Queries, draw_kinds, draw_tuples
from nesy_gedi.data.shapes import generate_shapes
from nesy_gedi.data.sources import absolute_source, from_table, source_name
from nesy_gedi.data.statistics import summarise
from nesy_gedi.data.views import Augmentation, augment

__all__ = [
    "UNKNOWN",
    "Augmentation",
    "Card",
    "DataDescription",
    "GivenQueries",
    "ImageSet",
    "ImageSplits",
    "Labels",
    "Observations",
    "Outside",
    "Queries",
    "ReadOptions",
    "absolute_source",
    "augment",
    "available",
    "describe",
    "draw_kinds",
    "draw_tuples",
    "from_arrays",
    "from_dataset",
    "from_table",
    "generate_shapes",
    "load_card",
    "load_images",
    "nearest_neighbours",
    "read_image",
    "source_name",
    "split_validation",
    "summarise",
]
