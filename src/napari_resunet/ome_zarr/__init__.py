"""OME-Zarr images on this computer (NGFF 0.4 and 0.5), read without trust.

Paths stay inside the store, only known codecs are used, and what a store states is checked
before anything is allocated. zarr and yaozarrs are optional, and imported when needed.
"""
